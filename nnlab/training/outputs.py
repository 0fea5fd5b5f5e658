"""Whether the model's outputs are what the loss takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.data.prepare import Data
from nnlab.errors import KeyPath
from nnlab.nn.activations import output_range
from nnlab.nn.model import Model
from nnlab.registry import ConfigValue, spell_out

HAND_ON = ("dropout", "flatten", "reshape")  # layers whose outputs have the range of their inputs
CHAINS = ("repeat", "sequential")


def check_outputs(config: Config, plan: ExperimentPlan, data: Data, model: Model) -> None:
    """The model must have as many outputs as loss and data ask for, and logits must not be bounded.

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
        remedy = "" if classes else "; let loss be squared_error"
        raise config.error(("loss",), f"{name} does not fit data with {task}{remedy}")
    if plan.loss.applies:
        _check_range(config, plan, model)
    if not classes:
        needed = data.train.targets.shape[1]
    shape = model.setup.output_shape
    if shape != (needed,):
        of_two = name == "cross_entropy" and shape == (1,) and classes == 2
        raise config.error(
            ("model",),
            f"ends in outputs of shape {list(shape)}, but {name} on data with {task} needs [{needed}]; "
            f"let the last layer be {{type: dense, units: {needed}}}, or mlp's outputs {needed}"
            + (", after a flatten" if len(shape) > 1 else "")
            + (", or loss be binary_cross_entropy" if of_two else ""),
        )


def _check_range(config: Config, plan: ExperimentPlan, model: Model) -> None:
    """A last activation must not keep logits from being any numbers."""
    layers = reversed(list(model.setup.children.items()))
    path, last = next((path, leaf) for path, leaf in layers if leaf.type not in HAND_ON)
    function = last.activation or last.state_activation
    if function is None:
        return
    low, high = output_range(function)
    if low == -math.inf and high == math.inf:
        return
    words = f"lie from {low:.3g} to {high:.3g}"
    if high == math.inf:
        words = f"are {low:.3g} or more"
    elif low == -math.inf:
        words = f"are {high:.3g} or less"
    remedy = "leave it out" if last.activation else "let a dense layer follow"
    at, name = _last_entry(config)
    if name != last.type:  # it is inside an architecture
        remedy += f" (`nnlab show layer {name}`)"
    raise config.error(
        at,
        f"ends in {path}, whose outputs {words}; {_name_of('loss', config.tree['loss'])} takes logits, which "
        f"can be any numbers, and applies {plan.loss.applies} itself: {remedy}",
    )


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
