"""What every data set goes through: limit, split, label noise, scaling by training statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from nnlab.data.examples import Examples, Source, pooled, single
from nnlab.data.splits import Split, divided, split
from nnlab.errors import ValueDoesNotFit
from nnlab.randomness import generator
from nnlab.registry import Count, Fraction, Of, Section, shared_by


class LabelNoise(NamedTuple):
    """A fraction of the training labels, drawn once, is replaced at random.

    by: `any` draws from all classes, so that some hit the true one (MNIST-1D's convention);
    `other` draws from the wrong ones only (Nakkiran et al. 2019).
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


@shared_by("dataset")
def prepare(
    source: Source,
    /,
    *,
    split: Annotated[Any, Section(split)] | None = None,
    normalize: Annotated[Any, Of("transform")] | None = None,
    label_noise: Annotated[Any, Section(LabelNoise, number="fraction")] | None = None,
    batch_size: Count | Literal["full"] = 32,
    limit: Count | None = None,
) -> DataPlan:
    """Keys of every data set.

    split: null is the data set's own division where it has one (mnist1d, idx, npz; boolean and ravine train
    on all), else 70 % train, 15 % validation, 15 % test; shares, or folds for a cross-validation.
    normalize: scales inputs by statistics of the training inputs. label_noise: of the training labels;
    validation and test stay clean. batch_size: examples a step, or `full`. limit: use no more than this many
    examples.
    """
    parts = split or Split()

    def load(seed: int) -> Data:
        own = seed if parts.seed is None else parts.seed
        examples, own_test = source.load(own)
        as_it_comes = split is None and (source.whole or own_test is not None)
        if parts.test is not None and own_test is not None:
            examples, own_test = pooled(examples, own_test), None
        shuffled = examples if as_it_comes else _shuffled(examples, generator(own, "split"))
        if limit is not None:
            shuffled = _some(shuffled, limit, generator(own, "limit"))
            own_test = own_test and _some(own_test, limit, generator(own, "limit"))
        chosen = parts if split is not None or as_it_comes else Split(0.7, 0.15, 0.15)
        train, validation, test = divided(shuffled, chosen)
        data = Data(train, validation, test or own_test)
        if label_noise is not None:
            data = data._replace(train=_with_noise(data.train, label_noise, generator(seed, "label noise")))
        return _scaled(data, normalize) if normalize else data

    return DataPlan(load, 0 if batch_size == "full" else batch_size)


def _shuffled(examples: Examples, random: np.random.Generator) -> Examples:
    return examples.take(random.permutation(len(examples)))


def _some(examples: Examples, limit: int, random: np.random.Generator) -> Examples:
    """At most so many examples, chosen at random, in the order in which they stood."""
    return examples.take(np.sort(random.permutation(len(examples))[:limit]))


def _with_noise(examples: Examples, noise: LabelNoise, random: np.random.Generator) -> Examples:
    if not examples.classes:
        raise ValueDoesNotFit("needs class labels; this data set's targets are values", ("label_noise",))
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
    return data._replace(**{name: replace(p, inputs=single(scale(p.inputs))) for name, p in splits})
