"""The table `predictions`: outputs for every training and test example beside the targets, with the weights
that training returns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnlab.data.prepare import Data


def predictions_table(data: Data, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns split, example, input (where inputs have one feature), output, target and prediction.

    Args:
        data: The examples by split; targets that are classes become one-hot.
        outputs: split -> `[N, K]`.

    Returns:
        Columns of `N * K` rows per split; example and output are indices.
    """
    parts: list[dict[str, np.ndarray]] = []
    for split in ("train", "test"):
        examples = data.splits.get(split)
        if examples is None:
            continue
        values = outputs[split]
        count, width = values.shape
        targets = examples.targets
        if examples.classes:
            targets = np.eye(max(width, examples.classes), dtype=np.float32)[targets][:, -width:]
        part = {"split": np.full(count * width, split, dtype=object)}
        part["example"] = np.repeat(np.arange(count), width)
        if examples.inputs[0].size == 1:
            part["input"] = np.repeat(examples.inputs.reshape(-1), width)
        part["output"] = np.tile(np.arange(width), count)
        part["target"], part["prediction"] = targets.reshape(-1), values.reshape(-1)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
