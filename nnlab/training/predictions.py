"""The table `predictions`: outputs for every training and test example, of the weights that come out, beside
the targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnlab.data.prepare import Data


def predictions_table(data: Data, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns split, example (its index in the split), input (where inputs have one feature), output (its
    index), target, prediction. outputs: split -> `[N, K]`; the targets of classes are one-hot."""
    parts: list[dict[str, np.ndarray]] = []
    for split in ("train", "test"):
        examples = data.splits.get(split)
        if examples is None:
            continue
        found = outputs[split]
        count, width = found.shape
        targets = examples.targets
        if examples.classes:
            targets = np.eye(max(width, examples.classes), dtype=np.float32)[targets][:, -width:]
        part = {"split": np.full(count * width, split, dtype=object)}
        part["example"] = np.repeat(np.arange(count), width)
        if examples.inputs[0].size == 1:
            part["input"] = np.repeat(examples.inputs.reshape(-1), width)
        part["output"] = np.tile(np.arange(width), count)
        part["target"], part["prediction"] = targets.reshape(-1), found.reshape(-1)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
