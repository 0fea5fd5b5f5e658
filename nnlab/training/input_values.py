"""Whether the inputs are what a layer takes, where it does not take any numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nnlab.config import Config
from nnlab.data.augment import Augmentation
from nnlab.data.inputs import blocks_of
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import InputValues, Setup
from nnlab.nn.model import KEEP_VALUES, Model


def check_input_values(config: Config, data: Data, model: Model) -> None:
    """A layer of tokens must be the first, with inputs of its vocabulary; the last may take a range.

    Args:
        config: The config.
        data: Its data.
        model: Its model, set up for the data.

    Raises:
        ConfigError: The inputs are others, or another layer changes them before.
    """
    for place, (path, leaf) in enumerate(model.setup.leaves()):
        if leaf.vocabulary is not None:
            if place > 0:
                raise config.error(("model",), f"{path} takes tokens; it must be the first layer")
            _check_tokens(config, _different_values(data), path, leaf.vocabulary)
    *before, (path, last) = model.setup.children.items()
    if last.takes != "any":
        _check_range(config, data, path, last, [layer for _, layer in before])


def _blocks(data: Data) -> Iterator[np.ndarray]:
    return (np.asarray(block) for part in data.splits.values() for block in blocks_of(part.inputs))


def _different_values(data: Data) -> np.ndarray:
    return np.concatenate([np.unique(block) for block in _blocks(data)])


def _check_tokens(config: Config, values: np.ndarray, path: str, vocabulary: int) -> None:
    others = values[(values != np.floor(values)) | (values < 0)]
    if others.size:
        raise config.error(
            ("model",),
            f"{path} takes tokens, whole numbers from 0 on, and among the inputs is {others[0]:g}; "
            "give data of tokens (such as encoding: tokens) without normalize",
        )
    if values.max() >= vocabulary:
        raise config.error(
            ("model",),
            f"{path} has a vocabulary of {vocabulary}, and among the inputs is token {values.max():.0f}; "
            f"let vocabulary be {values.max() + 1:.0f}",
        )


def _check_range(config: Config, data: Data, path: str, layer: Setup, before: list[Setup]) -> None:
    takes = layer.takes
    changing = next((other.type for other in before if other.type not in KEEP_VALUES), None)
    if changing:
        raise config.error(
            ("model",), f"{path} takes inputs {takes}, and {changing} before it makes other numbers of them"
        )
    if all(_are_taken(block, takes).all() for block in _blocks(data)):
        return
    values = _different_values(data)
    remedy = "{type: min_max, together: true}, or likelihood gaussian"
    if takes == "0 or 1":
        remedy = f"{{type: binarize, above: {float(np.median(values)):g}}}, or another threshold"
    other = values[~_are_taken(values, takes)][0]
    raise config.error(
        ("data",), f"{path} takes inputs {takes}, and among them is {other:g}; let normalize be {remedy}"
    )


def check_augmented_values(augmentation: Augmentation, model: Model) -> None:
    """Refuse an augmentation after which inputs are not what the last layer takes. Raises InvalidValue."""
    *_, (path, last) = model.setup.children.items()
    if last.takes == "any":
        return
    if augmentation.values == "any" or (augmentation.values == "between" and last.takes == "0 or 1"):
        message = (
            f"{augmentation.name} makes other values, and {path} takes inputs {last.takes}; leave it out"
        )
        raise InvalidValue(message)
    fill = augmentation.fill
    if not isinstance(fill, str) and not _are_taken(np.asarray(fill), last.takes):
        raise InvalidValue(f"is {fill:g}, and {path} takes inputs {last.takes}", ("fill",))


def _are_taken(values: np.ndarray, takes: InputValues) -> np.ndarray:
    return np.isin(values, (0, 1)) if takes == "0 or 1" else (values >= 0) & (values <= 1)
