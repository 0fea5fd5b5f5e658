"""What a data set is: a Source, that is a function from a seed to Examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab.data.file_rows import FileRows
from nnlab.data.inputs import BYTE_VALUES, ByteInputs, Inputs, blocks_of, concatenate_inputs
from nnlab.data.labels import MAXIMUM_CLASSES, number_labels
from nnlab.errors import InvalidValue
from nnlab.system.imports import Array
from nnlab.text import format_bytes, one_line

if TYPE_CHECKING:
    from nnlab.data.splits import Split

Task = Literal["classification", "regression"]
Fresh = Callable[[Array, int], tuple[Array, Array]]
"""(random key, count) -> inputs `[count, ...]` and targets of so many examples; traced and compiled."""


@dataclass(frozen=True)
class Examples:
    """`N` examples.

    Attributes:
        inputs: `[N, ...]`, float32 or float64 as the source has them; float32 once they are prepared. Bytes
            of a source are kept as such, and `np.asarray` gives the numbers.
        targets: Class numbers `[N]`, or one for each of the L positions of a sequence `[N, L]`, int32; or
            values `[N, K]`, float32 or float64 likewise.
        classes: The number of classes; 0 where the targets are values.
        rows: Where each example stands in its source, `[N]`: the number of its row, counted from 0, or the
            file that it is read from. Own test or validation examples count from 0, too; those that are
            divided anew with the others are numbered on after them.
        class_names: What the source calls the classes; empty where it only numbers them.
        feature_names: The column that each feature of inputs `[N, D]` comes from; empty where the source only
            numbers them.
        tasks: The task of each example in a sequence of them, `[N]` int32 from 0; None where there is none.
    """

    inputs: Inputs
    targets: np.ndarray
    classes: int
    rows: np.ndarray
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    tasks: np.ndarray | None = None

    def __len__(self) -> int:
        return self.inputs.shape[0]

    @property
    def positions(self) -> tuple[int, ...]:
        """`(L,)` where there is a class for each position of a sequence; `()` where there is one target."""
        return self.targets.shape[1:] if self.classes else ()

    @property
    def printed_class_names(self) -> tuple[str, ...]:
        """The names as they come into results: each one line of printable text; of blanks, in quotes."""
        return tuple(one_line(name) or repr(name) for name in self.class_names)

    def take(self, chosen: np.ndarray | slice) -> Examples:
        """The examples at these places, in this order."""
        tasks = None if self.tasks is None else self.tasks[chosen]
        inputs, targets, rows = self.inputs[chosen], self.targets[chosen], self.rows[chosen]
        return replace(self, inputs=inputs, targets=targets, rows=rows, tasks=tasks)


class Loaded(NamedTuple):
    """What a source gives.

    Attributes:
        examples: The examples, but those below.
        test: The data set's own test examples, if it has some.
        validation: Its own validation examples, if it has some.
        notes: Lines that are worth knowing: what was found beside the data and not read.
    """

    examples: Examples
    test: Examples | None = None
    validation: Examples | None = None
    notes: tuple[str, ...] = ()


class Source(NamedTuple):
    """Where examples come from.

    Attributes:
        load: Seed -> `Loaded`, or its first two alone.
        train_on_all: Whether a file without a `split` trains on all examples.
        by_place: Shares of the parts -> `Loaded`, in place of `load`, for data that are divided by place, as
            a text is, and not at random.
        fresh: Draws other examples of the same distribution on the device, where the data set can.
    """

    load: Callable[[int], tuple[Examples, Examples | None] | Loaded]
    train_on_all: bool = False
    by_place: Callable[[Split], Loaded] | None = None
    fresh: Fresh | None = None


def classification_examples(
    inputs: Inputs,
    labels: np.ndarray,
    classes: int | None = None,
    class_names: tuple[str, ...] = (),
) -> Examples:
    """Examples of a classification.

    Args:
        inputs: `[N, ...]`, of any numeric type; bytes may stand for other numbers.
        labels: Class numbers `[N]` or `[N, L]`, 0 to classes - 1.
        classes: The number of classes. None is one more than the largest label.
        class_names: What the source calls them, where it does.

    Raises:
        InvalidValue: There are no examples, an input is not finite, a label is below 0 or too large, or the
            counts of inputs and labels differ.
    """
    count = classes or int(labels.max(initial=0)) + 1
    if labels.min(initial=0) < 0:
        raise InvalidValue(f"label {labels.min()} is below 0; classes count from 0")
    if classes is None and count > MAXIMUM_CLASSES:
        raise InvalidValue(
            f"label {count - 1} makes {count:,} classes, and {MAXIMUM_CLASSES:,} is the most; number them "
            "from 0 on"
        )
    return _checked(
        Examples(_as_inputs(inputs), labels.astype(np.int32), count, np.arange(len(inputs)), class_names)
    )


def regression_examples(inputs: Inputs, values: np.ndarray) -> Examples:
    """Examples of a regression.

    Args:
        inputs: `[N, ...]`, of any numeric type.
        values: Targets `[N]` or `[N, K]`, of any numeric type.

    Raises:
        InvalidValue: There are no examples, a number is not finite, or the counts of inputs and values
            differ.
    """
    values = as_float(values)
    return _checked(Examples(_as_inputs(inputs), values.reshape(len(values), -1), 0, np.arange(len(inputs))))


def as_float(values: np.ndarray) -> np.ndarray:
    """The values as float32 where their type fits it without rounding, as bytes do; else as float64.

    Raises:
        InvalidValue: A whole number does not fit float64.
    """
    if np.can_cast(values.dtype, np.float32):
        return values.astype(np.float32, copy=False)
    double = values.astype(np.float64, copy=False)
    if values.dtype.kind in "iu":
        with np.errstate(invalid="ignore"):  # what is rounded up to 2^63 does not fit back
            rounded = double.astype(values.dtype) != values
        if rounded.any():
            number = values[rounded][0]
            raise InvalidValue(f"{number} has more digits than float64 keeps (2^53); subtract an offset")
    return double


def as_float32(values: np.ndarray) -> np.ndarray:
    """The values as float32; what does not fit becomes infinite, which prepared examples are checked for."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def align_classes(train: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Training and test examples of one data set, with classes counted over both.

    Raises:
        InvalidValue: Their inputs have different shapes.
    """
    train_shape, test_shape = list(train.inputs.shape[1:]), list(test.inputs.shape[1:])
    if train_shape != test_shape:
        raise InvalidValue(
            f"training inputs have the shape {train_shape}, test inputs {test_shape}", ("path",)
        )
    classes = max(train.classes, test.classes)
    return replace(train, classes=classes), replace(test, classes=classes)


def concatenate_examples(*parts: Examples) -> Examples:
    """The examples of several parts of a data set, one part after the other."""
    return replace(
        parts[0],
        inputs=concatenate_inputs([part.inputs for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        classes=max(part.classes for part in parts),
        rows=np.concatenate([part.rows for part in parts]),
    )


def examples_from_labels(inputs: Inputs, labels: np.ndarray, task: Task) -> Examples:
    """Examples with targets as they are in a file.

    Args:
        inputs: `[N, ...]`, of any numeric type.
        labels: For a classification, what `number_labels` takes: the different labels, sorted, become the
            classes 0, 1, ... For a regression numbers `[N]` or `[N, K]`.
        task: What the targets are for.

    Raises:
        InvalidValue: The labels are not fit for the task, or as for the other functions here.
    """
    if task == "regression":
        if labels.dtype.kind not in "biufO":
            raise InvalidValue("the targets are text; a regression takes numbers")
        return regression_examples(inputs, np.asarray(labels, dtype=np.float64))
    return classification_examples(inputs, *number_labels(labels))


def check_finite(examples: Examples) -> None:
    """Refuse numbers that are not finite.

    Raises:
        InvalidValue: One is NaN or infinite.
    """
    for name, values in (("input", examples.inputs), ("target", examples.targets)):
        if isinstance(values, ByteInputs) and np.isfinite(values.table).all():
            continue
        first, place, count, start = 0, [], 0, 0
        for block in blocks_of(values):
            wrong = ~np.isfinite(block)
            if wrong.any() and not count:
                first, *place = np.argwhere(wrong)[0].tolist()
                first += start
            count, start = count + int(np.count_nonzero(wrong)), start + len(block)
        if count:
            which = f" {place[0] if len(place) == 1 else place}" if place else ""
            raise InvalidValue(
                f"{name}{which} of example {examples.rows[first]} (counted from 0) is not a finite float32 "
                f"number ({count:,} such in all)"
            )


def _as_inputs(inputs: Inputs) -> Inputs:
    """The inputs as floats, but bytes as they are, each of which stands for its own number."""
    if isinstance(inputs, ByteInputs):
        return inputs
    if inputs.dtype == np.uint8:
        return ByteInputs(inputs, np.arange(BYTE_VALUES, dtype=np.float32))
    if not isinstance(inputs, FileRows):
        return as_float(inputs)
    if not np.can_cast(inputs.dtype, np.float32):
        raise InvalidValue(
            f"the inputs take {format_bytes(inputs.file_bytes)}, too much for memory, as {inputs.dtype}; "
            "save them as float32, and they are read from the file as they are needed"
        )
    return inputs if inputs.dtype == np.float32 else inputs.converted(as_float)


def _checked(examples: Examples) -> Examples:
    inputs, targets = examples.inputs, examples.targets
    if len(inputs) != len(targets):
        raise InvalidValue(f"{len(inputs)} inputs but {len(targets)} targets; there must be one for each")
    if len(inputs) == 0:
        raise InvalidValue("the data set is empty")
    check_finite(examples)
    return examples
