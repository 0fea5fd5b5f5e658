"""An experiment: config bound to data, model and optimizer. Nothing is compiled, JAX is not needed yet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.data.augment import check_mixing
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import path_matches
from nnlab.nn.model import Model, build_model
from nnlab.phenomena.layer_table import LAYER_PROBE
from nnlab.phenomena.probe import WEIGHT_PATH_POINTS, Probe
from nnlab.system.imports import Array
from nnlab.text import join_words, suggestion
from nnlab.training import memory
from nnlab.training.memory import Footprint
from nnlab.training.pretrained import NO_PRETRAINED_WEIGHTS, PretrainedWeights, load_pretrained
from nnlab.training.program import Components, build_components, group_key, traced_values

MOST_STEPS = 2**31 - 1  # steps are counted in int32


class Experiment(NamedTuple):
    """batch_size: examples a step; record_steps: ascending, 0 and total_steps among them. With a solver
    there are no steps. pretrained: first weights that were trained before. frozen_prefix: so many layers of
    the chain, the first ones, are frozen and computed once."""

    config: Config
    parts: ExperimentPlan
    data: Data
    model: Model
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    record_steps: list[int]
    pretrained: PretrainedWeights = NO_PRETRAINED_WEIGHTS
    frozen_prefix: int = 0

    @property
    def trained_model(self) -> Model:
        """The model without its frozen prefix."""
        return self.model.split_at(self.frozen_prefix)[1] if self.frozen_prefix else self.model

    def first_weights(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Params and state before the first step, arrays of the host. Raises InvalidValue."""
        params, state = self.model.init(self.parts.seed)
        return self.pretrained.replace_in(params), self.pretrained.replace_in(state)

    @property
    def trained_parameters(self) -> int:
        """The parameters of the layers that are not frozen; under a solver, those of the last one."""
        leaves = list(self.model.setup.leaves())
        if self.parts.optimizer is None:
            return leaves[-1][1].count("params")
        frozen = self.parts.optimizer.frozen
        return sum(leaf.count("params") for path, leaf in leaves if not frozen(path))

    @property
    def keeps_path(self) -> bool:
        """Whether a probe looks at the path of the weights."""
        return any(probe.needs_weight_path for probe in self.probes)

    @property
    def last_tables(self) -> set[str]:
        """The tables that are written once, after the training."""
        return {"predictions", *(probe.table for probe in self.probes if probe.record_at == "end")}

    @property
    def probes(self) -> list[Probe]:
        layers = [LAYER_PROBE] if self.parts.record.layers else []
        return [*layers, *_phenomena_probes(self.parts)]

    @property
    def selection_metric(self) -> str:
        """The loss by which the best weights are chosen, and by which schedules go: never the test set's."""
        return "validation_loss" if "validation" in self.data.splits else "train_loss"

    @property
    def stops(self) -> Sequence[Any]:
        return self.parts.train.stop if self.parts.train else []

    @property
    def footprint(self) -> Footprint:
        """What the memory of its training goes by."""
        splits = self.data.splits.values()
        data = sum(part.inputs.nbytes + part.targets.nbytes for part in splits)
        if self.frozen_prefix:
            shape = self.model.split_at(self.frozen_prefix)[0].setup.output_shape
            data += 4 * math.prod(shape) * sum(map(len, splits))
        return _footprint(self.parts, self.model, self.batch_size, sum(map(len, splits)), data)

    @property
    def traced_values(self) -> dict[str, float]:
        """The numbers that the compiled program takes as arguments, by their path in the config."""
        return traced_values(self.config)

    def build_components(self, values: Mapping[str, Array]) -> Components:
        """The components of the program, with these values in place of its traced ones."""
        return build_components(self.config, values, self.data.train.inputs.shape[1:], self.frozen_prefix)

    @property
    def program_key(self) -> str:
        """The same for two experiments that one compiled program serves."""
        shapes = {name: (p.inputs.shape, p.targets.shape, p.classes) for name, p in self.data.splits.items()}
        numbers = (self.batch_size, self.parts.data.batch_size, self.steps_per_epoch, self.total_steps)
        return f"{group_key(self.config)} {shapes} {numbers}"


def build_experiment(config: Config) -> Experiment:
    """Load the data, lay out the model and check that all of it fits together. Raises ConfigError."""
    parts = config.build()
    with contextlib.suppress(InvalidValue):  # what is too large for one feature need not wait for the data
        _check_memory(config, _footprint(parts, build_model(parts.model, (1,)), 1, 1, 0), "at least")
    with _blaming(config, "data"):
        data = parts.data.load(parts.seed)
    with _blaming(config, "model"):
        net = build_model(parts.model, data.train.inputs.shape[1:])
    if not any("kernel" in leaf.params for _, leaf in net.setup.leaves()):
        raise config.error(("model",), "has no kernel to train; give it a layer such as dense")
    _check_tokens(config, data, net)
    _check_outputs(config, parts, data, net)
    check_expectations(config, parts, data)
    for position, phenomenon in enumerate(parts.phenomena):
        if not phenomenon.spans_sweep:
            with _blaming(config, "phenomena", position):
                phenomenon.validate(net.setup, data)
    examples = len(data.train)
    known = _pretrained(config, parts, data, net)
    if parts.solver is not None:
        _check_solver(config, net)
        return Experiment(config, parts, data, net, examples, 1, 0, [0], known)
    batch_size = min(parts.data.batch_size or examples, examples)
    steps_per_epoch = examples // batch_size
    assert parts.train is not None  # noqa: S101 - there is no solver
    _check_stops(config, parts, data)
    _check_groups(config, parts, net)
    _check_augment(config, parts, data, net, batch_size)
    total = parts.train.steps
    if total is None:
        total = max(1, round((parts.train.epochs or 0.0) * steps_per_epoch))
    if total >= MOST_STEPS:
        raise config.error(("train",), f"comes to {total:.3g} steps; there can be fewer than {MOST_STEPS:,}")
    with _blaming(config, "record"):
        records = parts.record.steps(total, steps_per_epoch)
    frozen_prefix = _frozen_prefix(config, parts, net)
    bound = Experiment(
        config, parts, data, net, batch_size, steps_per_epoch, total, records, known, frozen_prefix
    )
    _check_memory(config, bound.footprint, "about")
    return bound


@contextlib.contextmanager
def _blaming(config: Config, *path: str | int) -> Iterator[None]:
    """Turn what does not fit into a problem of a part of the file."""
    try:
        yield
    except InvalidValue as error:
        raise config.error((*path, *error.at), str(error)) from None
    except MemoryError:
        raise config.error(path, "needs more memory than there is") from None


def _check_stops(config: Config, parts: ExperimentPlan, data: Data) -> None:
    """What ends a training must be recorded."""
    for number, stop in enumerate(parts.train.stop if parts.train else ()):
        split, _, what = stop.metric.partition("_")
        at = ("train", "stop", number)
        if split not in data.splits:
            raise config.error(at, f"{stop.name} needs a {split} split; give data.split one")
        if what == "accuracy" and not data.train.classes:
            raise config.error(at, f"{stop.name} of an error needs classes; give it a loss to look at")


def _check_groups(config: Config, parts: ExperimentPlan, net: Model) -> None:
    """Each group of layers must hold one, and some layer must be left to train."""
    paths = [path for path, leaf in net.setup.leaves() if leaf.params or leaf.random]
    for number, group in enumerate(parts.optimizer.groups):
        for place, pattern in enumerate(group.patterns):
            if not any(path_matches(path, [pattern]) for path in paths):
                single = isinstance(group.layers, str)
                at = ("optimizer", "groups", number, "layers", *(() if single else (place,)))
                near = suggestion(pattern, paths) or ";"
                message = (
                    f"no layer with parameters is '{pattern}'{near} there are {join_words(paths, 'and')}"
                )
                raise config.error(at, message)
    if all(parts.optimizer.frozen(path) for path, leaf in net.setup.leaves() if leaf.params):
        raise config.error(("optimizer", "groups"), "freeze every layer; leave one to train")


def _pretrained(config: Config, parts: ExperimentPlan, data: Data, net: Model) -> PretrainedWeights:
    """The first weights that the file asks for."""
    if parts.initialize is None:
        return NO_PRETRAINED_WEIGHTS
    with _blaming(config, "initialize"):
        return load_pretrained(parts.initialize, net.setup, data.train.inputs.shape[1:])


def _check_augment(config: Config, parts: ExperimentPlan, data: Data, net: Model, batch_size: int) -> None:
    """What changes inputs must be made for such as these."""
    tokens = [path for path, leaf in net.setup.leaves() if leaf.vocabulary is not None]
    if parts.augment and tokens:
        raise config.error(("augment",), f"changes numbers, and {tokens[0]} takes tokens; leave it out")
    for number, augmentation in enumerate(parts.augment):
        with _blaming(config, "augment", number):
            augmentation.validate(data.train.inputs.shape[1:])
            if augmentation.mixes and batch_size == 1:
                raise InvalidValue(
                    f"{augmentation.name} mixes examples of a batch, and there is one in it; let "
                    "data.batch_size be 2 or more"
                )
    with _blaming(config, "augment"):
        check_mixing(parts.augment)


def _frozen_prefix(config: Config, parts: ExperimentPlan, net: Model) -> int:
    """How many layers of the chain, from the first on, are computed once."""
    if not (parts.train and parts.train.cache_frozen):
        return 0
    at, frozen = ("train", "cache_frozen"), parts.optimizer.frozen
    if parts.augment:
        raise config.error(at, "needs inputs that stay as they are; leave out 'augment'")
    for phenomenon in parts.run_phenomena:
        times = {probe.record_at for probe in phenomenon.probes}
        all_examples = any(probe.evaluates_all_examples for probe in phenomenon.probes)
        if all_examples or "end" in times or times == {"start"}:  # those of the start alone read inputs
            message = f"leaves no inputs for {phenomenon.name} to look at; leave one of the two out"
            raise config.error(at, message)
    last = 0
    for place, (name, child) in enumerate(net.setup.children.items(), 1):
        leaves = [(f"{name}/{path}" if path else name, leaf) for path, leaf in child.leaves()]
        if any((leaf.params or leaf.random) and not frozen(path) for path, leaf in leaves):
            break
        last = place if any(leaf.params for _, leaf in leaves) else last
    if not last:
        first = next(path for path, leaf in net.setup.leaves() if leaf.params or leaf.random)
        raise config.error(at, f"has nothing to compute once: '{first}' is not frozen by optimizer.groups")
    return last


def _check_tokens(config: Config, data: Data, net: Model) -> None:
    """A layer that looks tokens up comes first, and the inputs must be such tokens."""
    for place, (path, leaf) in enumerate(net.setup.leaves()):
        if leaf.vocabulary is None:
            continue
        if place > 0:
            raise config.error(("model",), f"{path} takes tokens; it must be the first layer")
        values = np.concatenate([np.unique(part.inputs) for part in data.splits.values()])
        others = values[(values != np.floor(values)) | (values < 0)]
        if others.size:
            raise config.error(
                ("model",),
                f"{path} takes tokens, whole numbers from 0 on, and among the inputs is {others[0]:g}; "
                "give data of tokens (such as encoding: tokens) without normalize",
            )
        if values.max() >= leaf.vocabulary:
            raise config.error(
                ("model",),
                f"{path} has a vocabulary of {leaf.vocabulary}, and among the inputs is token "
                f"{values.max():.0f}; let vocabulary be {values.max() + 1:.0f}",
            )


def _check_outputs(config: Config, parts: ExperimentPlan, data: Data, net: Model) -> None:
    """The model must end in what loss and data ask for."""
    classes = data.train.classes
    needed = parts.loss.outputs_for(classes)
    task = f"{classes} classes" if classes else "values to regress"
    name = config.tree["loss"] if isinstance(config.tree["loss"], str) else config.tree["loss"]["type"]
    if needed is None:
        remedy = "" if classes else "; let loss be squared_error"
        raise config.error(("loss",), f"{name} does not fit data with {task}{remedy}")
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


def check_expectations(config: Config, parts: ExperimentPlan, data: Data) -> None:
    """What a config expects of final and best metrics must name metrics that a run of these parts will have.
    What is expected of the best trial of a search, that checks by itself."""
    search = (config.tree["sweep"] or {}).get("method") is not None
    for key in config.tree["expect"]:
        message = _no_number(key, parts, data)
        if message and not (search and key.startswith("best.")):
            raise config.error(("expect", key), message)


def check_metric(config: Config, metric: str, experiment: Experiment) -> None:
    """The metric of the search in a sweep's config must be one that an experiment of it will have."""
    message = _no_number(metric, experiment.parts, experiment.data)
    if "test_" in metric:
        message = f"'{metric}' is of the test set, which never chooses anything; search by validation_..."
    if message:
        raise config.error(("sweep", "method"), message)


def _no_number(key: str, parts: ExperimentPlan, data: Data) -> str:
    """What is wrong with the name of a final or best metric; empty where nothing is."""
    what = ("loss", "accuracy") if data.train.classes else ("loss",)
    best = [f"{split}_{name}" for split in data.splits for name in what]
    own = ["smallest_singular_value"] if parts.solver is not None else ["learning_rate"]
    own += ["grad_norm"] if parts.solver is None and parts.record.layers else []
    row = ["step", "epoch", *own, *best, "weight_norm"]
    known = {"best": best, "final": row, "selected": row}
    prefix, _, number = key.partition(".")
    if prefix not in known or number in known[prefix]:
        return ""
    near = suggestion(number, known[prefix]) or ";"
    return f"'{prefix}' has no number '{number}'{near} it has {', '.join(known[prefix])}"


def _check_solver(config: Config, net: Model) -> None:
    """A solver finds the kernel of a last dense layer, for the squared error."""
    loss = config.tree["loss"]
    if (loss if isinstance(loss, str) else loss["type"]) != "squared_error":
        raise config.error(("loss",), "a solver makes the squared error small; give loss: squared_error")
    *_, (path, last) = net.setup.children.items()
    if last.type != "dense" or "bias" in last.params:
        raise config.error(
            ("model",),
            f"a solver finds the kernel of a last dense layer with use_bias: false; the last one is '{path}'"
            + (" with a bias; a constant among the features does its work" if "bias" in last.params else ""),
        )


def _phenomena_probes(parts: ExperimentPlan) -> list[Probe]:
    return [probe for phenomenon in parts.run_phenomena for probe in phenomenon.probes]


def _footprint(parts: ExperimentPlan, net: Model, batch: int, examples: int, data: int) -> Footprint:
    slots = parts.optimizer.slots if parts.optimizer else 0
    whole = any(probe.evaluates_all_examples for probe in _phenomena_probes(parts))
    path = WEIGHT_PATH_POINTS * any(probe.needs_weight_path for probe in _phenomena_probes(parts))
    return Footprint(net.setup, slots, batch, examples, data, parts.record.layers, whole, path)


def _check_memory(config: Config, footprint: Footprint, how_exact: str) -> None:
    needed, there = footprint.more, memory.available()
    if there is not None and needed > there:
        raise config.error(
            ("model",),
            f"training needs {how_exact} {memory.shown(needed)} of memory and {memory.shown(there)} are "
            f"free; largest layers: {memory.largest_layers(footprint.setup)}",
        )


def step_flops(experiment: Experiment) -> float:
    """Floating-point operations of a step, about: thrice those of the forward pass."""
    return 3.0 * forward_flops(experiment.model) * experiment.batch_size


def forward_flops(net: Model) -> float:
    """Floating-point operations of an example's forward pass, about: two for each weight of a kernel and
    each place that the kernel is applied to."""
    return sum(
        2.0 * leaf.params["kernel"].size * math.prod(leaf.output_shape[:-1])
        for _, leaf in net.setup.leaves()
        if "kernel" in leaf.params
    )
