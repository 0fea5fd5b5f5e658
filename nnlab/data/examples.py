"""What a data set is: a function from a seed to Examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from nnlab.errors import InvalidValue

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Examples:
    """`N` examples.

    inputs: `[N, ...]` float32. targets: `[N]` int32 class numbers, or `[N, K]` float32 values.
    classes: the number of classes; 0 where the targets are values.
    """

    inputs: np.ndarray
    targets: np.ndarray
    classes: int

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def take(self, rows: np.ndarray | slice) -> Examples:
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows])


class Source(NamedTuple):
    """Where examples come from.

    load: seed -> (all examples, the data set's own test examples or None). whole: without a `split` all of
    them are trained on.
    """

    load: Callable[[int], tuple[Examples, Examples | None]]
    train_on_all: bool = False


def classification_examples(inputs: np.ndarray, labels: np.ndarray, classes: int | None = None) -> Examples:
    """Examples of a classification; `labels` are 0 .. classes - 1. Raises InvalidValue."""
    count = classes or int(labels.max(initial=0)) + 1
    if labels.min(initial=0) < 0:
        raise InvalidValue(f"label {labels.min()} is below 0; classes count from 0")
    return _checked(Examples(as_float32(inputs), labels.astype(np.int32), count))


def regression_examples(inputs: np.ndarray, values: np.ndarray) -> Examples:
    """Examples of a regression. Raises InvalidValue."""
    values = as_float32(values)
    return _checked(Examples(as_float32(inputs), values.reshape(len(values), -1), 0))


def as_float32(values: np.ndarray) -> np.ndarray:
    """As float32; what does not fit becomes infinite, which is refused where examples are checked."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def align_classes(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Training and test examples of one data set, classes counted over both. Raises InvalidValue."""
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        ours, theirs = list(train.inputs.shape[1:]), list(test.inputs.shape[1:])
        raise InvalidValue(f"training inputs have the shape {ours}, test inputs {theirs}", ("path",))
    classes = max(train.classes, test.classes)
    return replace(train, classes=classes), replace(test, classes=classes)


def concatenate_examples(*parts: Examples) -> Examples:
    """All examples of some parts of a data set."""
    return Examples(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.targets for part in parts]),
        max(part.classes for part in parts),
    )


def examples_from_labels(inputs: np.ndarray, labels: np.ndarray, task: Task) -> Examples:
    """Examples from a file's targets: for a classification, sorted different values become 0, 1, ..."""
    if task == "regression":
        return regression_examples(inputs, np.asarray(labels, dtype=np.float64))
    known, numbers = np.unique(labels, return_inverse=True)
    if len(known) > 10_000:
        raise InvalidValue(f"the targets have {len(known)} different values; is this a task: regression?")
    return classification_examples(inputs, numbers.reshape(-1), len(known))


def _checked(examples: Examples) -> Examples:
    inputs, targets = examples.inputs, examples.targets
    if len(inputs) != len(targets):
        raise InvalidValue(f"{len(inputs)} inputs but {len(targets)} targets; there must be one for each")
    if len(inputs) == 0:
        raise InvalidValue("the data set is empty")
    for what, array in (("input", inputs), ("target", targets)):
        if not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            raise InvalidValue(f"{what} of example {row} (counted from 0) is not a finite float32 number")
    return examples
