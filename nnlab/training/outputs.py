"""Whether the model's outputs are what the loss takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.data.classes import classes_without_examples, count_present_classes
from nnlab.data.prepare import Data
from nnlab.errors import KeyPath
from nnlab.nn.activations import is_flat, output_range
from nnlab.nn.layer import Shape
from nnlab.nn.model import Model
from nnlab.optim.losses import THRESHOLD
from nnlab.registry import ConfigValue, spell_out

HAND_ON = ("dropout", "flatten", "reshape")  # layers whose outputs have the range of their inputs
CHAINS = ("repeat", "sequential")
BY_OUTPUTS: dict[Shape, str] = {(1,): "binary_cross_entropy", (2,): "cross_entropy"}  # for two classes


def check_outputs(config: Config, plan: ExperimentPlan, data: Data, model: Model) -> None:
    """The model must have as many outputs as loss and data ask for, and a last activation must suit the loss.

    Args:
        config: The config.
        plan: Its components, built.
        data: Its data.
        model: Its model, set up for the data.

    Raises:
        ConfigError: The loss does not suit the data, or the last layer the loss.
    """
    classes = data.train.classes
    needed = plan.loss.outputs_for(classes)
    task = f"{classes} classes" if classes else "values to regress"
    name = _name_of("loss", config.tree["loss"])
    if needed is None:
        remedy = "cross_entropy" if classes else "squared_error"
        message = f"{name} does not fit data with {task}; let loss be {remedy}{_other_task(config, plan)}"
        raise config.error(("loss",), message)
    _check_own_loss(config, plan, data, model)
    _check_last_activation(config, plan, model)
    if not classes:
        needed = data.train.targets.shape[1] if plan.loss.takes_targets else 1
    shape, positions = model.setup.output_shape, data.train.positions
    if positions:
        task += f" at each of {positions[0]} positions"
    if shape != (*positions, needed):
        of_two = classes == 2 and name in BY_OUTPUTS.values()
        other_loss = BY_OUTPUTS.get(shape, "") if of_two else ""
        raise config.error(
            ("model",),
            f"ends in outputs of shape {list(shape)}, but {name} on data with {task} needs "
            f"{[*positions, needed]}; {_absent_classes(data, shape)}let the last layer be {{type: dense, "
            f"units: {needed}}}, or mlp's outputs {needed}"
            + (", after a flatten" if len(shape) > 1 and not positions else "")
            + (", after layers that keep the positions (read: null)" if positions and len(shape) < 2 else "")
            + (f", or loss be {other_loss}" if other_loss else "")
            + _other_task(config, plan),
        )


def _check_own_loss(config: Config, plan: ExperimentPlan, data: Data, model: Model) -> None:
    """A layer that computes its own loss must be the last one, and layer_loss needs one."""
    layers = {**dict(model.setup.leaves()), **model.setup.children}
    with_loss = [path for path, layer in layers.items() if layer.own_loss]
    own = with_loss[0] if with_loss else None
    if own is not None and own != list(model.setup.children)[-1]:
        raise config.error(("model",), f"{own} computes its own loss; it must be the last layer")
    if own is None and not plan.loss.takes_targets:
        raise config.error(("loss",), "needs a last layer that computes its own loss, such as rbm")
    if own is not None and plan.loss.takes_targets:
        raise config.error(("loss",), f"{own} computes its own loss; let loss be layer_loss")
    if plan.metrics and not plan.loss.takes_targets:
        raise config.error(("metrics",), "compare outputs with targets, which layer_loss leaves aside")
    if config.tree["data"].get("label_noise") and not plan.loss.takes_targets:
        message = "changes labels, which layer_loss leaves aside; leave it out"
        raise config.error(("data", "label_noise"), message)


def _absent_classes(data: Data, shape: Shape) -> str:
    """Which classes have no example, where the model has outputs for all the others alone."""
    parts = list(data.splits.values())
    absent = classes_without_examples(parts) if data.train.classes else ""
    return f"{absent}; else " if absent and shape == (count_present_classes(parts),) else ""


def _other_task(config: Config, plan: ExperimentPlan) -> str:
    """Where a loss of values meets a data set whose key `task` makes classes of its targets: the key."""
    of_values = config.tree["data"].get("task") == "classification" and plan.loss.outputs_for(0) is not None
    return "; for values to regress, give data.task regression" if of_values else ""


def _check_last_activation(config: Config, plan: ExperimentPlan, model: Model) -> None:
    """A last activation must let logits be any numbers, and gradients pass."""
    layers = reversed(list(model.setup.children.items()))
    path, last = next((path, leaf) for path, leaf in layers if leaf.type not in HAND_ON)
    function = last.activation or last.state_activation
    if function is None:
        return
    at, name = _last_entry(config)
    remedy = "leave it out" if last.activation else "let a dense layer follow"
    if name != last.type:  # it is inside an architecture
        remedy += f" (`nnlab show layer {name}`)"
    low, high = output_range(function) if plan.loss.applies else (-math.inf, math.inf)
    takes, fits = "logits, which can be any numbers", (low, high) == (-math.inf, math.inf)
    if plan.loss.applies == THRESHOLD:
        takes, fits = "outputs above and below 0", low < 0 < high
    if not fits:
        words = f"lie from {low:.3g} to {high:.3g}"
        if high == math.inf:
            words = f"are {low:.3g} or more"
        elif low == -math.inf:
            words = f"are {high:.3g} or less"
        loss = _name_of("loss", config.tree["loss"])
        message = (
            f"ends in {path}, whose outputs {words}; {loss} takes {takes}, and applies {plan.loss.applies} "
            f"itself: {remedy}"
        )
        raise config.error(at, message)
    trains = plan.train is not None and plan.train.steps != 0
    if trains and is_flat(function):
        message = (
            f"ends in {path}, whose slope is 0 everywhere, so that no gradient reaches a weight: {remedy}"
        )
        raise config.error(at, message)


def _last_entry(config: Config) -> tuple[KeyPath, str]:
    """The place in the file of the last layer that changes its inputs, and its name."""
    at: KeyPath = ("model",)
    entry = config.tree["model"]
    while (name := _name_of("layer", entry)) in CHAINS:
        if isinstance(entry, Mapping):
            at, entry = (*at, "layers"), entry["layers"]
        number = max(i for i, layer in enumerate(entry) if _name_of("layer", layer) not in HAND_ON)
        at, entry = (*at, number), entry[number]
    return at, name


def _name_of(kind: str, value: ConfigValue) -> str:
    """The name of a component in a checked config."""
    spelled = spell_out(kind, value)
    return spelled[0] if spelled else ""
