"""Preparation of every data set: classes, split, limit, label noise, scaling, reconstruction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from nnlab.data import precision
from nnlab.data.classes import check_classes, select_classes, target_notes
from nnlab.data.examples import (
    Examples,
    Fresh,
    Loaded,
    Source,
    as_float32,
    check_finite,
    concatenate_examples,
)
from nnlab.data.file_rows import is_too_large
from nnlab.data.inputs import ByteInputs, Inputs, blocks_of, file_rows, in_memory, scale_bytes
from nnlab.data.order import Branch
from nnlab.data.splits import Split, split_examples
from nnlab.data.tasks import Tasks, assign_tasks
from nnlab.data.transforms import Scaling, Transform
from nnlab.errors import InvalidValue
from nnlab.registry import ComponentOf, Count, Fraction, common_options, section
from nnlab.system.random import generator
from nnlab.text import one_line

ClassNumber = Annotated[int, Ge(0)]

DEFAULT_SPLIT = Split(0.7, 0.15, 0.15)


@section(number="fraction")
@dataclass(frozen=True)
class LabelNoise:
    """A fraction of the training labels, drawn once, is replaced at random.

    Args:
        fraction: The fraction of the labels, in [0, 1].
        by: `any` draws from all classes, so that some hit the true one (MNIST-1D's convention); `other` draws
            from the wrong ones only (Nakkiran et al. 2019).
    """

    fraction: Fraction
    by: Literal["any", "other"] = "any"


class Data(NamedTuple):
    """Examples ready for training, by split.

    Attributes:
        train: Examples to train on.
        validation: Examples to validate on, if any.
        test: Examples to test on, if any.
        scale: What `normalize` makes of inputs `[N, ...]`, float32; those of the splits are scaled already.
        notes: Lines that are worth knowing: what was found beside the data and not read, classes without
            examples, values that float32 cannot tell apart.
    """

    train: Examples
    validation: Examples | None
    test: Examples | None
    scale: Scaling = as_float32
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Examples]:
        """The splits that have examples, by name: train, validation, test."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def streamed(self) -> bool:
        """Whether inputs stay in their file, and are read as they are needed."""
        return any(file_rows(part.inputs) is not None for part in self.splits.values())

    def with_splits(self, parts: Mapping[str, Examples]) -> Data:
        """The same data with other examples in these splits."""
        return self._replace(
            train=parts.get("train", self.train),
            validation=parts.get("validation", self.validation),
            test=parts.get("test", self.test),
        )

    def with_classes_as_values(self) -> Data:
        """The same data without classes: the targets are their numbers as values, `[N, 1]`."""
        parts = {
            name: replace(
                part,
                targets=part.targets.astype(np.float32).reshape(len(part), -1),
                classes=0,
                class_names=(),
            )
            for name, part in self.splits.items()
            if part.classes
        }
        return self.with_splits(parts)

    def with_notes(self, notes: Iterable[str]) -> Data:
        """The same data with more notes."""
        return self._replace(notes=(*self.notes, *map(one_line, notes)))

    @property
    def hash(self) -> str:
        """SHA-256 over every array."""
        digest = hashlib.sha256()
        for name, part in self.splits.items():
            digest.update(f"{name} {part.inputs.shape} {part.targets.shape}".encode())
            for block in blocks_of(part.inputs):
                digest.update(np.ascontiguousarray(block).data)
            digest.update(np.ascontiguousarray(part.targets).data)
            if part.tasks is not None:
                digest.update(part.tasks.data)
        return digest.hexdigest()


class DataPlan(NamedTuple):
    """A data set with its preparation.

    Attributes:
        load: Seed -> Data. Raises InvalidValue.
        batch_size: Examples in a step; 0 is all of them.
        order: Where the order of examples branches off, if it does.
        fresh: Draws the examples of a step, where they are drawn anew.
        tasks: How they become a sequence of tasks, where they do.
    """

    load: Callable[[int], Data]
    batch_size: int
    order: Branch | None = None
    fresh: Fresh | None = None
    tasks: Tasks | None = None


@common_options("dataset")
def prepare(
    source: Source,
    /,
    *,
    split: Split | None = None,
    normalize: Annotated[Transform, ComponentOf("transform")] | None = None,
    label_noise: LabelNoise | None = None,
    batch_size: Count | Literal["full"] = 32,
    limit: Count | None = None,
    keep_classes: list[ClassNumber | str] | None = None,
    reconstruct: bool = False,
    order: Branch | None = None,
    fresh: bool = False,
    tasks: Annotated[Tasks, ComponentOf("task_sequence")] | None = None,
) -> DataPlan:
    """Keys of every data set, by which its examples are split, chosen and scaled.

    Args:
        split: Shares of the examples, or folds for a cross-validation. null is the data set's own division
            where it has one (mnist, cifar10, mnist1d, npz, image_folder; boolean and ravine train on all),
            else 70 % train, 15 % validation, 15 % test; of a text, one behind the other.
        normalize: Scales the inputs by statistics of the training inputs, in the precision of their source;
            only then do they become float32. A feature that loses its differences so is refused.
        label_noise: Replaces some training labels; validation and test labels stay clean.
        batch_size: Examples in a step, or `full` for all.
        limit: The largest number of examples, and of the data set's own validation and test examples each;
            null is all.
        keep_classes: The classes whose examples are used, by number from 0, or by name where the data set
            has names (a name of digits in quotes). They are numbered anew from 0, in the order of this list.
            null is all classes.
        reconstruct: Whether the targets are the inputs, scaled and flattened to `[N, D]`, for an autoencoder
            (a regression: loss squared_error, D outputs).
        order: Another order of the examples, from a step on. null is that of the run's seed throughout.
        fresh: Whether each step has examples of its own, drawn on the device from seed and step, as xor,
            sparse_features and sparse_parity can; the training split is then a sample to evaluate on.
        tasks: Makes a sequence of tasks of them, trained on one after the other. null is one of all examples.

    Raises:
        InvalidValue: There are no labels for label_noise, or batches of all examples to order.
    """
    others: dict[str, object] = {"label_noise": label_noise, "normalize": normalize, "order": order}
    others |= {"keep_classes": keep_classes, "tasks": tasks, "reconstruct": reconstruct or None}
    _check_together(source, batch_size, fresh, others)
    given_seed = split.seed if split else None

    def load(seed: int) -> Data:
        split_seed = seed if given_seed is None else given_seed
        loaded = _choose(_load(source, split, split_seed), keep_classes, reconstruct)
        data = _load_what_fits(_divide(loaded, source, split, limit, split_seed))
        if not reconstruct:
            data = data.with_notes(target_notes(loaded, data.train))
        if label_noise is not None:
            data = data._replace(train=_replace_labels(data.train, label_noise, seed))
        data = _scale(data, normalize)
        return _assign_tasks(_target_inputs(data) if reconstruct else data, tasks, seed)

    size = 0 if batch_size == "full" else batch_size
    return DataPlan(load, size, order, source.fresh if fresh else None, tasks)


def _check_together(source: Source, batch_size: object, fresh: bool, others: Mapping[str, object]) -> None:
    """Refuse keys that leave each other nothing to do; those of `others` that are not given are None.
    Raises InvalidValue."""
    if fresh and source.fresh is None:
        raise InvalidValue("this data set has no examples but those that it loads; leave it out", ("fresh",))
    given = [key for key, value in others.items() if value is not None]
    if fresh and given:
        raise InvalidValue("is of examples that are there; leave it out, or 'fresh'", (given[0],))
    if "order" in given and batch_size == "full":
        raise InvalidValue("is one of batches, and here each is full; give 'batch_size'", ("order",))
    if "reconstruct" in given and "label_noise" in given:
        raise InvalidValue("has no labels to change where inputs are reconstructed", ("label_noise",))


def _load(source: Source, split: Split | None, seed: int) -> Loaded:
    """What a source gives. Raises InvalidValue where it is divided by place and `split` asks for more."""
    if source.by_place is None:
        return _pool(Loaded(*source.load(seed)), split or Split())
    split = split or DEFAULT_SPLIT
    asked = {"stratify": split.stratify, "folds": split.folds is not None, "sample": split.sample is not None}
    for key, given in asked.items():
        if given:
            raise InvalidValue(f"these data are divided by place; leave out '{key}'", ("split", key))
    return source.by_place(split)


def _pool(loaded: Loaded, split: Split) -> Loaded:
    """The data set with its own test and validation examples among the others where `split` asks for that."""
    examples, test, validation, _ = loaded
    if split.test is not None and test is not None:
        examples, test = _append(examples, test), None
    if (split.validation or split.folds) and validation is not None:
        examples, validation = _append(examples, validation), None
    return loaded._replace(examples=examples, test=test, validation=validation)


def _choose(loaded: Loaded, classes: list[ClassNumber | str] | None, reconstruct: bool) -> Loaded:
    """The examples of the chosen classes, which are checked unless inputs are the targets."""
    chosen = loaded if classes is None else select_classes(loaded, classes)
    if not reconstruct:
        check_classes(chosen)
    return chosen


def _append(examples: Examples, others: Examples) -> Examples:
    """Examples, and others whose rows are numbered on, where they are numbered."""
    numbered = others.rows.dtype.kind in "iu"
    rows = others.rows + len(examples) if numbered else others.rows
    return concatenate_examples(examples, replace(others, rows=rows))


def _divide(loaded: Loaded, source: Source, split: Split | None, limit: int | None, seed: int) -> Data:
    """The examples by split. A data set's own division is kept where `split` does not ask for another."""
    examples, test_set, validation_set, notes = loaded
    own = split is None and (source.train_on_all or bool(test_set or validation_set))
    predivided = own or source.by_place is not None
    shares = Split() if predivided else split or DEFAULT_SPLIT
    if not predivided:
        examples = _shuffle(examples, generator(seed, "split"))
    if limit is not None:
        examples = _subsample(examples, limit, generator(seed, "limit"))
        test_set, validation_set = (
            part and _subsample(part, limit, generator(seed, "limit")) for part in (test_set, validation_set)
        )
    train, validation, test = split_examples(examples, shares)
    return Data(train, validation or validation_set, test or test_set).with_notes(notes)


def _shuffle(examples: Examples, random: np.random.Generator) -> Examples:
    return examples.take(random.permutation(len(examples)))


def _subsample(examples: Examples, limit: int, random: np.random.Generator) -> Examples:
    """At most `limit` examples, chosen at random, in their order."""
    return examples.take(np.sort(random.permutation(len(examples))[:limit]))


def _replace_labels(examples: Examples, noise: LabelNoise, seed: int) -> Examples:
    if not examples.classes:
        raise InvalidValue("needs class labels; this data set's targets are values", ("label_noise",))
    random = generator(seed, "label noise")
    targets = examples.targets.flatten()
    rows = random.permutation(len(targets))[: round(noise.fraction * len(targets))]
    if noise.by == "any":
        targets[rows] = random.integers(0, examples.classes, len(rows))
    else:
        shift = random.integers(1, max(2, examples.classes), len(rows))
        targets[rows] = (targets[rows] + shift) % examples.classes
    return replace(examples, targets=targets.reshape(examples.targets.shape))


def _scale(data: Data, transform: Transform | None) -> Data:
    """The data as they are trained on: scaled in the precision of their source, then rounded to float32.
    Raises InvalidValue where that takes too much."""
    train = data.train.inputs
    scaling = _scaling(transform, train)
    notes = precision.check_targets(data.train)
    if train.dtype != np.float32:
        scaled = scaling(np.asarray(train))
        notes = precision.check_inputs(data.train, scaled, transform is not None) + notes

    def scale(inputs: np.ndarray) -> np.ndarray:
        return as_float32(scaling(inputs))

    parts = {}
    inputs: Sequence[Inputs] = [part.inputs for part in data.splits.values()]
    if transform or not data.streamed:
        inputs = _scale_inputs(inputs, scale)
    for (name, part), scaled_inputs in zip(data.splits.items(), inputs, strict=True):
        targets = part.targets if part.classes else as_float32(part.targets)
        parts[name] = replace(part, inputs=scaled_inputs, targets=targets)
        check_finite(parts[name])
    return data.with_splits(parts)._replace(scale=scale).with_notes(notes)


def _scale_inputs(parts: Sequence[Inputs], scale: Scaling) -> Sequence[Inputs]:
    """The scaled inputs of each part; bytes stay bytes where there is a table of what they become."""
    of_bytes = [part for part in parts if isinstance(part, ByteInputs)]
    scaled = scale_bytes(of_bytes, scale) if len(of_bytes) == len(parts) else None
    return scaled or [
        rows.converted(_conversion(part, scale)) if (rows := file_rows(part)) else scale(np.asarray(part))
        for part in parts
    ]


def _conversion(inputs: Inputs, scale: Scaling) -> Scaling:
    """What makes scaled numbers of rows of a file."""
    if not isinstance(inputs, ByteInputs):
        return scale
    return lambda codes: scale(np.asarray(replace(inputs, codes=codes)))


def _scaling(transform: Transform | None, train: Inputs) -> Scaling:
    """What a transform makes of the training inputs. Raises InvalidValue."""
    if transform is None:
        return lambda inputs: inputs
    if not file_rows(train):
        return transform(np.asarray(train))
    try:
        return transform(train)
    except InvalidValue as error:
        raise InvalidValue(str(error), error.at or ("normalize",)) from None


def _load_what_fits(data: Data) -> Data:
    """The data, in memory where what is left of them after `limit` and `split` fits."""
    rows = [rows for part in data.splits.values() if (rows := file_rows(part.inputs)) is not None]
    if is_too_large(sum(part.file_bytes for part in rows)):
        return data
    return data.with_splits(
        {name: replace(part, inputs=in_memory(part.inputs)) for name, part in data.splits.items()}
    )


def _target_inputs(data: Data) -> Data:
    """The data with its inputs, flattened, as targets."""
    return data.with_splits(
        {
            name: replace(
                part, targets=np.asarray(part.inputs).reshape(len(part), -1), classes=0, class_names=()
            )
            for name, part in data.splits.items()
        }
    )


def _assign_tasks(data: Data, tasks: Tasks | None, seed: int) -> Data:
    """The data as a sequence of tasks, where they are one. Raises InvalidValue."""
    if tasks is None:
        return data
    try:
        return data.with_splits(
            {name: assign_tasks(tasks, part, name, seed) for name, part in data.splits.items()}
        )
    except InvalidValue as error:
        raise InvalidValue(str(error), ("tasks", *error.at)) from None
