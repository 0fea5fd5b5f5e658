"""What every data set goes through: choice of classes, limit, split, label noise, scaling, reconstruction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from nnlab.data.examples import Examples, Source, as_float32, concatenate_examples
from nnlab.data.splits import Split, split_examples
from nnlab.errors import InvalidValue
from nnlab.registry import Built, ComponentOf, Count, Fraction, common_options, section
from nnlab.system.random import generator

ClassNumber = Annotated[int, Ge(0)]


@section(number="fraction")
@dataclass(frozen=True)
class LabelNoise:
    """A fraction of the training labels, drawn once, is replaced at random.

    Args:
        fraction: How many of the labels, from 0 to 1.
        by: `any` draws from all classes, so that some hit the true one (MNIST-1D's convention); `other` draws
            from the wrong ones only (Nakkiran et al. 2019).
    """

    fraction: Fraction
    by: Literal["any", "other"] = "any"


class Data(NamedTuple):
    """Examples ready for training, by split."""

    train: Examples
    validation: Examples | None
    test: Examples | None

    @property
    def splits(self) -> dict[str, Examples]:
        """The splits that are there, by name."""
        return {name: part for name, part in self._asdict().items() if part is not None}

    @property
    def hash(self) -> str:
        """SHA-256 over every array."""
        digest = hashlib.sha256()
        for name, part in self.splits.items():
            digest.update(f"{name} {part.inputs.shape} {part.targets.shape}".encode())
            digest.update(np.ascontiguousarray(part.inputs).data)
            digest.update(np.ascontiguousarray(part.targets).data)
        return digest.hexdigest()


class DataPlan(NamedTuple):
    """A data set with its preparation. load: seed -> Data; batch_size: 0 stands for all."""

    load: Callable[[int], Data]
    batch_size: int


@common_options("dataset")
def prepare(
    source: Source,
    /,
    *,
    split: Split | None = None,
    normalize: Annotated[Built, ComponentOf("transform")] | None = None,
    label_noise: LabelNoise | None = None,
    batch_size: Count | Literal["full"] = 32,
    limit: Count | None = None,
    keep_classes: list[ClassNumber] | None = None,
    reconstruct: bool = False,
) -> DataPlan:
    """Keys of every data set.

    split: null is the data set's own division where it has one (mnist, cifar10, mnist1d, npz; boolean and
    ravine train on all), else 70 % train, 15 % validation, 15 % test; shares, or folds for a
    cross-validation. normalize: scales inputs by statistics of the training inputs. label_noise: of the
    training labels; validation and test stay clean. batch_size: examples a step, or `full`. limit: use no
    more than this many examples, and as many of its own test examples. keep_classes: the examples of these
    classes alone, which are numbered anew from 0 in the order given. reconstruct: the targets are the inputs,
    scaled and flattened to `[N, D]` values, for an autoencoder (a regression: loss squared_error, D outputs).
    """
    if reconstruct and label_noise is not None:
        raise InvalidValue("has no labels to change where inputs are reconstructed", ("label_noise",))
    parts = split or Split()

    def load(seed: int) -> Data:
        own = seed if parts.seed is None else parts.seed
        examples, own_test = source.load(own)
        if keep_classes is not None:
            examples, own_test = _of_classes(examples, own_test, keep_classes)
        as_it_comes = split is None and (source.train_on_all or own_test is not None)
        if parts.test is not None and own_test is not None:
            examples, own_test = concatenate_examples(examples, own_test), None
        shuffled = examples if as_it_comes else _shuffled(examples, generator(own, "split"))
        if limit is not None:
            shuffled = _some(shuffled, limit, generator(own, "limit"))
            own_test = own_test and _some(own_test, limit, generator(own, "limit"))
        chosen = parts if split is not None or as_it_comes else Split(0.7, 0.15, 0.15)
        train, validation, test = split_examples(shuffled, chosen)
        data = Data(train, validation, test or own_test)
        if label_noise is not None:
            data = data._replace(train=_with_noise(data.train, label_noise, generator(seed, "label noise")))
        data = _scaled(data, normalize) if normalize else data
        return _reconstructing(data) if reconstruct else data

    return DataPlan(load, 0 if batch_size == "full" else batch_size)


def _of_classes(
    examples: Examples, own_test: Examples | None, kept: list[int]
) -> tuple[Examples, Examples | None]:
    """The examples, and the own test examples, of these classes, which become 0, 1, ... in this order."""
    if not examples.classes:
        raise InvalidValue("needs class labels; this data set's targets are values", ("keep_classes",))
    if not kept:
        raise InvalidValue("is empty; name at least one class, or leave it out", ("keep_classes",))
    for place, number in enumerate(kept):
        if number >= examples.classes:
            raise InvalidValue(
                f"there is no class {number}; this data set's are 0 to {examples.classes - 1}",
                ("keep_classes", place),
            )
        if number in kept[:place]:
            raise InvalidValue(f"names class {number} twice; once is enough", ("keep_classes", place))
    anew = np.full(examples.classes, -1, np.int32)
    anew[kept] = np.arange(len(kept))

    def chosen(part: Examples) -> Examples:
        rows = np.flatnonzero(anew[part.targets] >= 0)
        return Examples(part.inputs[rows], anew[part.targets[rows]], len(kept))

    train = chosen(examples)
    if not len(train):
        raise InvalidValue("there is no example of these classes", ("keep_classes",))
    return train, own_test and (chosen(own_test) or None)


def _shuffled(examples: Examples, random: np.random.Generator) -> Examples:
    return examples.take(random.permutation(len(examples)))


def _some(examples: Examples, limit: int, random: np.random.Generator) -> Examples:
    """At most so many examples, chosen at random, in the order in which they stood."""
    return examples.take(np.sort(random.permutation(len(examples))[:limit]))


def _with_noise(examples: Examples, noise: LabelNoise, random: np.random.Generator) -> Examples:
    if not examples.classes:
        raise InvalidValue("needs class labels; this data set's targets are values", ("label_noise",))
    rows = random.permutation(len(examples))[: round(noise.fraction * len(examples))]
    targets = examples.targets.copy()
    if noise.by == "any":
        targets[rows] = random.integers(0, examples.classes, len(rows))
    else:
        shift = random.integers(1, max(2, examples.classes), len(rows))
        targets[rows] = (targets[rows] + shift) % examples.classes
    return replace(examples, targets=targets)


def _scaled(data: Data, normalize: Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]) -> Data:
    scale = normalize(data.train.inputs)
    splits = data.splits.items()
    return data._replace(**{name: replace(p, inputs=as_float32(scale(p.inputs))) for name, p in splits})


def _reconstructing(data: Data) -> Data:
    """The data with its inputs as targets."""
    splits = data.splits.items()
    flat = {n: Examples(p.inputs, p.inputs.reshape(len(p), -1), 0) for n, p in splits}
    return data._replace(**flat)
