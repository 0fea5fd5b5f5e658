"""The table `predictions`: outputs for every training and test example beside the targets, with the weights
that training returns."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nnlab.data.prepare import Data


def predictions_table(data: Data, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns split, example, input (where inputs have one feature), output, target, prediction, row, and
    class_name where classes have names.

    Args:
        data: The examples by split; targets that are classes become one-hot.
        outputs: split -> `[N, K]`.

    Returns:
        Columns of `N * K` rows per split; example and output are indices, row is the example's place in its
        source, see `Examples`, and class_name what the output stands for.
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
        if math.prod(examples.inputs.shape[1:]) == 1:
            part["input"] = np.repeat(np.asarray(examples.inputs).reshape(-1), width)
        part["output"] = np.tile(np.arange(width), count)
        part["target"], part["prediction"] = targets.reshape(-1), values.reshape(-1)
        part["row"] = np.repeat(examples.rows, width)
        if examples.class_names:
            names = np.array(examples.printed_class_names[-width:], dtype=object)
            part["class_name"] = np.tile(names, count)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
