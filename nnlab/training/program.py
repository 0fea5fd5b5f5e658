"""What of an experiment is compiled, and what the compiled program takes as arguments.

The seed and the traced values of a config, such as the learning rate, are arguments, so that a sweep over
them compiles once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nnlab.config import Config
from nnlab.data.augment import Augmentation
from nnlab.errors import KeyPath
from nnlab.nn.layer import Shape, Tree
from nnlab.nn.model import Model, build_model
from nnlab.optim.losses import Loss
from nnlab.optim.metrics import Metric
from nnlab.optim.parameter_groups import Optimizer
from nnlab.registry import build, replace_arguments
from nnlab.system.imports import Array
from nnlab.text import dotted

PROGRAM_PARTS = {"model": "layer", "loss": "loss", "optimizer": "optimizer"}  # key in the config -> kind
PROGRAM_LISTS = {  # likewise, of lists
    "metrics": "metric",
    "regularizers": "regularizer",
    "constraints": "constraint",
    "augment": "augmentation",
}


class Components(NamedTuple):
    """The components of a config that the compiled program is made of.

    Attributes:
        model: The layers that are trained; a frozen prefix is not among them.
        loss: What training minimizes.
        metrics: What is recorded beside it.
        optimizer: With its schedules.
        regularizers: params -> penalty, each.
        constraints: kernel -> kernel, each.
        augment: In the order in which they change the inputs.
    """

    model: Model
    loss: Loss
    metrics: Sequence[Metric]
    optimizer: Optimizer
    regularizers: Sequence[Callable[[Tree], Array]]
    constraints: Sequence[Callable[[Array], Array]]
    augment: Sequence[Augmentation]


def program_parts(tree: Mapping[str, Any], replace: Callable[[KeyPath, Any], Any]) -> dict[str, Any]:
    """What of a config makes the compiled program, with `replace(path, value)` where it takes arguments."""
    parts = {key: replace_arguments(kind, tree[key], replace, (key,)) for key, kind in PROGRAM_PARTS.items()}
    return parts | {
        key: [replace_arguments(kind, entry, replace, (key, i)) for i, entry in enumerate(tree[key])]
        for key, kind in PROGRAM_LISTS.items()
    }


def traced_values(config: Config) -> dict[str, float]:
    """The numbers of a config that the compiled program takes as arguments, by their path."""
    values: dict[str, float] = {}

    def note(path: KeyPath, value: Any) -> Any:
        if isinstance(value, (int, float)):
            values[dotted(path)] = float(value)
        return value

    program_parts(config.tree, note)
    return values


def build_components(
    config: Config, values: Mapping[str, Array], input_shape: Shape, frozen_prefix: int
) -> Components:
    """The components of a config.

    Args:
        config: The config.
        values: What takes the place of its traced values, by path.
        input_shape: Of one example.
        frozen_prefix: How many layers, the first ones of the chain, are computed once and left out.
    """

    def substitute(path: KeyPath, value: Any) -> Any:
        return values.get(dotted(path), value)

    parts = program_parts(config.tree, substitute)
    built = {key: build(kind, parts[key]) for key, kind in PROGRAM_PARTS.items()}
    lists = {key: [build(kind, entry) for entry in parts[key]] for key, kind in PROGRAM_LISTS.items()}
    model = build_model(built["model"], input_shape, config.tree["precision"]["compute"])
    trained = model.split_at(frozen_prefix)[1] if frozen_prefix else model
    return Components(
        model=trained,
        loss=built["loss"],
        metrics=lists["metrics"],
        optimizer=built["optimizer"],
        regularizers=lists["regularizers"],
        constraints=lists["constraints"],
        augment=lists["augment"],
    )


def group_key(config: Config) -> str:
    """Equal for two configs that share a compiled program, as far as can be told before the data are loaded.

    It is the config without what the program takes as arguments, and without what leaves the data as large.
    """
    tree = config.tree
    program = program_parts(tree, lambda path, value: None)
    data = {
        key: value for key, value in tree["data"].items() if key not in ("label_noise", "normalize", "order")
    }
    rest = {key: tree[key] for key in ("train", "precision", "record", "phenomena", "solver")}
    prune = tree["prune"] and {key: tree["prune"][key] for key in ("rounds", "rewind", "criterion")}
    return json.dumps(program | rest | {"data": data, "prune": prune}, sort_keys=True)
