"""How a data set is split: by shares, or into the folds of a cross-validation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from nnlab.data.examples import Examples, concatenate_examples
from nnlab.errors import InvalidValue
from nnlab.registry import Fraction, section
from nnlab.system.random import generator

Share = Annotated[int, Ge(0)] | Fraction


@section()
@dataclass(frozen=True)
class Split:
    """How many examples go where, as fractions of the data set or as counts; the rest is not used.

    Args:
        train: Share to train on. null is what the others leave.
        validation: Share to validate on. 0 keeps the data set's own validation examples, where it has some; a
            share, or `folds`, pools those with the rest first.
        test: Share to test on. null keeps the data set's own test examples, where it has some; a share pools
            those with the rest first.
        stratify: Whether every part has the classes in the proportions of what it is taken from, to within
            one example of a class.
        folds: The number of parts, equal to within one example, that all but the test examples are divided
            into, in place of train and validation (cross-validation, lecture 002).
        fold: The part that is the validation set, counted from 0; the others are trained on. null trains on
            all. The division depends on the seed alone, so that each fold can have its turn.
        seed: Of the split, of `limit` and of data that are drawn. null is the run's seed; a number keeps the
            parts the same in runs of several seeds, as voting needs.
        sample: Draws the training examples anew, from all that are not validated or tested on; the same
            number draws the same ones. With `seed` given, too, runs have different training samples and one
            test set, as bias and variance need. null takes the first examples of the split.
    """

    train: Share | None = None
    validation: Share = 0.0
    test: Share | None = None
    stratify: bool = False
    folds: Annotated[int, Ge(2), Le(10**6)] | None = None
    fold: Annotated[int, Ge(0)] | None = None
    seed: Annotated[int, Ge(0), Lt(2**32)] | None = None
    sample: Annotated[int, Ge(0), Lt(2**32)] | None = None

    def __post_init__(self) -> None:
        if self.sample is not None and self.train is None:
            raise InvalidValue("draws a number of examples; give 'train': how many", ("sample",))
        if self.folds is None:
            if self.fold is not None:
                raise InvalidValue("give 'folds' too: how many there are", ("fold",))
            return
        if self.train is not None or self.validation:
            given = "validation" if self.train is None else "train"
            raise InvalidValue(
                f"folds divide all that is not test among training and validation; leave out '{given}'",
                (given,),
            )
        if self.fold is not None and self.fold >= self.folds:
            message = f"{self.fold} is none of {self.folds} folds, counted from 0 to {self.folds - 1}"
            raise InvalidValue(message, ("fold",))


def split_examples(examples: Examples, split: Split) -> tuple[Examples, Examples | None, Examples | None]:
    """Split examples, which come in random order.

    Args:
        examples: `N` examples.
        split: How many go where.

    Returns:
        Training, validation and test examples; None for a part that gets no examples.

    Raises:
        InvalidValue: There are too few examples for the split, or no classes to stratify by.
    """
    if split.stratify and examples.positions:
        raise InvalidValue("needs one class an example; here is one at every position", ("split", "stratify"))
    if split.stratify and not examples.classes:
        raise InvalidValue("needs class labels; this data set's targets are values", ("split", "stratify"))
    sizes = part_sizes(len(examples), split)
    if split.sample is None:
        train, *others = _cut(examples, sizes, split.stratify)
    else:
        train, *others = _sample(examples, sizes, split.sample, split.stratify)
    validation, test = (part if len(part) else None for part in others)
    if split.folds is not None:
        train, validation = _split_folds(train, split.folds, split.fold, split.stratify)
    return train, validation, test


def _sample(examples: Examples, sizes: Sequence[int], seed: int, stratify: bool) -> list[Examples]:
    """Training examples that are drawn from all but the validation and test examples; then those."""
    first, validation, test, rest = _cut(examples, [*sizes, len(examples) - sum(sizes)], stratify)
    pool = concatenate_examples(first, rest)
    pool = pool.take(generator(seed, "sample").permutation(len(pool)))
    return [*_cut(pool, sizes[:1], stratify), validation, test]


def part_sizes(total: int, split: Split, what: str = "examples") -> list[int]:
    """The numbers of training, validation and test examples, or of what else is divided."""

    def size(share: int | float | None) -> float:
        return 0.0 if share is None else share * total if isinstance(share, float) else float(share)

    held_out = size(split.validation) + size(split.test)
    exact = [
        total - held_out if split.train is None else size(split.train),
        size(split.validation),
        size(split.test),
    ]
    ends = [math.floor(sum(exact[: i + 1]) + 0.5) for i in range(3)]
    if exact[0] < 0 or ends[2] > total:
        raise InvalidValue(f"the shares add up to more than the {total} {what} there are", ("split",))
    if ends[0] < 1:
        raise InvalidValue(f"none of {total} {what} is left to train on", ("split",))
    sizes = [end - start for start, end in zip([0, *ends[:2]], ends, strict=True)]
    for name, share, count in (("validation", split.validation, sizes[1]), ("test", split.test, sizes[2])):
        if share and not count:
            least = math.ceil(1e6 / total) / 1e6
            less = "" if split.train is None else ", and train less"
            raise InvalidValue(
                f"{name}: {share:g} of {total} {what} comes to none; give at least {least:g}, or a count "
                f"such as 1{less} (for {share:g} it takes {math.ceil(1 / share):,} {what})",
                ("split", name),
            )
    return sizes


def _split_folds(
    examples: Examples, folds: int, fold: int | None, stratify: bool
) -> tuple[Examples, Examples | None]:
    """Training and validation examples where `fold` is the validation set."""
    total = len(examples)
    if folds > total:
        raise InvalidValue(f"{folds} folds of {total} examples; there cannot be more", ("split", "folds"))
    if fold is None:
        return examples, None
    parts = _cut(examples, [total // folds + (i < total % folds) for i in range(folds)], stratify)
    return concatenate_examples(*parts[:fold], *parts[fold + 1 :]), parts[fold]


def _cut(examples: Examples, sizes: Sequence[int], stratify: bool) -> list[Examples]:
    """Consecutive parts of these sizes; examples that are left over are not used."""
    if stratify:
        examples = examples.take(_in_proportion(examples.targets, sizes))
    ends = list(itertools.accumulate(sizes))
    return [examples.take(slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _in_proportion(labels: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Rows `[N]` in an order in which consecutive parts of these sizes hold the classes in proportion.

    The first rows of a class go to the first part, the next to the second; within a part the rows ascend.
    """
    shares = _apportioned(np.bincount(labels), np.array([*sizes, len(labels) - sum(sizes)]))
    part = np.empty(len(labels), int)
    part[np.argsort(labels, kind="stable")] = np.concatenate(
        [np.repeat(np.arange(len(share)), share) for share in shares]
    )
    return np.argsort(part, kind="stable")


def _apportioned(counts: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """How many examples of each class go to each part `[P]`: less than one below the exact share count x size
    / N, or at most one above. counts `[K]`, sizes `[P]`, both of the sum N.

    Shares are rounded down, and what is left of a class goes to the parts that want the most, one each. The
    table of ones that these make, its sums being given, is always found so (Gale 1957, Ryser 1957).
    """
    total = counts.sum()
    wanting = sizes - sum(count * sizes // total for count in counts)
    for count in counts:
        share, cut_off = np.divmod(count * sizes, total)
        most_wanting = np.lexsort((-cut_off, -wanting))[: count - share.sum()]
        share[most_wanting] += 1
        wanting[most_wanting] -= 1
        yield share
