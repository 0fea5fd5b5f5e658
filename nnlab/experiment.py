"""An experiment: config bound to data, model and optimizer. Nothing is compiled, JAX is not needed yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from nnlab import memory
from nnlab.config import Config
from nnlab.config.experiment_file import Parts
from nnlab.data.prepare import Data
from nnlab.errors import ValueDoesNotFit, near_miss
from nnlab.nn.model import Model, model
from nnlab.probes import INSIDE_VIEW, Probe

MOST_STEPS = 2**31 - 1  # steps are counted in int32


class Experiment(NamedTuple):
    """batch_size: examples a step; record_steps: ascending, 0 and total_steps among them."""

    config: Config
    parts: Parts
    data: Data
    model: Model
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    record_steps: list[int]

    @property
    def probes(self) -> list[Probe]:
        return [INSIDE_VIEW, *(probe for phenomenon in self.parts.phenomena for probe in phenomenon.probes)]


def bind(config: Config) -> Experiment:
    """Load the data, lay out the model and check that all of it fits together. Raises ConfigError."""
    parts = config.build()
    with _blaming(config, "data"):
        data = parts.data.load(parts.seed)
    with _blaming(config, "model"):
        net = model(parts.model, data.train.inputs.shape[1:])
    if not any("kernel" in leaf.params for _, leaf in net.setup.leaves()):
        raise config.error(("model",), "has no weights to train: no layer with a kernel, such as dense")
    _check_outputs(config, parts, data, net)
    _check_expectations(config, parts, data)
    examples = len(data.train)
    batch_size = min(parts.data.batch_size or examples, examples)
    _check_memory(config, parts, net, batch_size)
    steps_per_epoch = examples // batch_size
    total = parts.train.steps
    if total is None:
        total = max(1, round((parts.train.epochs or 0.0) * steps_per_epoch))
    if total >= MOST_STEPS:
        raise config.error(("train",), f"comes to {total:.3g} steps; there can be fewer than {MOST_STEPS:,}")
    with _blaming(config, "record"):
        records = parts.record.steps(total, steps_per_epoch)
    return Experiment(config, parts, data, net, batch_size, steps_per_epoch, total, records)


@contextlib.contextmanager
def _blaming(config: Config, key: str) -> Iterator[None]:
    """Turn what does not fit into a problem of one of the file's top-level keys."""
    try:
        yield
    except ValueDoesNotFit as error:
        raise config.error((key, *error.at), str(error)) from None
    except MemoryError:
        raise config.error((key,), "needs more memory than there is") from None


def _check_outputs(config: Config, parts: Parts, data: Data, net: Model) -> None:
    """The model must end in what loss and data ask for."""
    classes = data.train.classes
    needed = parts.loss.outputs_for(classes)
    task = f"{classes} classes" if classes else "values to regress"
    name = config.tree["loss"] if isinstance(config.tree["loss"], str) else config.tree["loss"]["type"]
    if needed is None:
        raise config.error(("loss",), f"{name} does not fit data with {task}")
    if not classes:
        needed = data.train.targets.shape[1]
    found = net.setup.output_shape
    if found != (needed,):
        raise config.error(
            ("model",),
            f"ends in outputs of shape {list(found)}, but {name} on data with {task} needs [{needed}]; "
            f"let the last layer be {{type: dense, units: {needed}}}, or mlp's outputs {needed}"
            + (", after a flatten" if len(found) > 1 else ""),
        )


def _check_expectations(config: Config, parts: Parts, data: Data) -> None:
    """What is expected of final and best metrics must name metrics that the run will have."""
    what = ("loss", "accuracy") if data.train.classes else ("loss",)
    best = [f"{split}_{name}" for split in data.splits for name in what]
    known = {"best": best, "final": ["step", "epoch", "learning_rate", *best, "grad_norm", "weight_norm"]}
    for key in parts.expect:
        prefix, _, number = key.partition(".")
        if prefix in known and number not in known[prefix]:
            near = near_miss(number, known[prefix]) or ";"
            message = f"'{prefix}' has no number '{number}'{near} it has {', '.join(known[prefix])}"
            raise config.error(("expect", key), message)


def _check_memory(config: Config, parts: Parts, net: Model, batch_size: int) -> None:
    needed, there = memory.needed(net.setup, parts.optimizer.slots, batch_size), memory.available()
    if there is not None and needed > there:
        raise config.error(
            ("model",),
            f"training needs about {memory.shown(needed)} of memory and {memory.shown(there)} are free; "
            f"largest layers: {memory.largest_layers(net.setup)}",
        )


def step_flops(experiment: Experiment) -> float:
    """Floating-point operations of a step, about: 2 forward and 4 backward a weight and example."""
    return 6.0 * experiment.model.setup.count("params") * experiment.batch_size
