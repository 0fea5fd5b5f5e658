"""Whether the inputs are what the first layer takes, where it does not take any numbers."""

from __future__ import annotations

import numpy as np

from nnlab.config import Config
from nnlab.data.inputs import blocks_of
from nnlab.data.prepare import Data
from nnlab.nn.layer import Setup
from nnlab.nn.model import KEEP_VALUES, Model


def check_input_values(config: Config, data: Data, model: Model) -> None:
    """A layer of tokens must be the first, with inputs of its vocabulary; one of bits needs inputs 0 or 1.

    Args:
        config: The config.
        data: Its data.
        model: Its model, set up for the data.

    Raises:
        ConfigError: The inputs are others, or another layer changes them before.
    """
    leaves = list(model.setup.leaves())
    for place, (path, leaf) in enumerate(leaves):
        if leaf.vocabulary is not None:
            if place > 0:
                raise config.error(("model",), f"{path} takes tokens; it must be the first layer")
            _check_tokens(config, _different_values(data), path, leaf.vocabulary)
        if leaf.takes_bits:
            _check_bits(config, data, path, [before for _, before in leaves[:place]])


def _different_values(data: Data) -> np.ndarray:
    return np.concatenate(
        [np.unique(block) for part in data.splits.values() for block in blocks_of(part.inputs)]
    )


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


def _check_bits(config: Config, data: Data, path: str, before: list[Setup]) -> None:
    changing = next((leaf.type for leaf in before if leaf.type not in KEEP_VALUES), None)
    if changing:
        raise config.error(
            ("model",), f"{path} takes bits, and {changing} before it makes other numbers of them"
        )
    values = _different_values(data)
    others = values[(values != 0) & (values != 1)]
    if others.size:
        raise config.error(
            ("data",),
            f"{path} takes inputs 0 or 1, and among them is {others[0]:g}; let normalize be "
            f"{{type: binarize, above: {float(np.median(values)):g}}}, or another threshold",
        )
