"""Memory tasks: what comes early in a sequence is asked for at its end.

`N` is the number of examples, `T` that of steps.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.datasets.synthetic import MAXIMUM_VALUES, Classes, ExampleCount
from nnlab.data.examples import Examples, Source, classification_examples, regression_examples
from nnlab.errors import InvalidValue
from nnlab.registry import NonNegative, register
from nnlab.system.random import generator

Length = Annotated[int, Ge(2), Le(10**6)]


@register("dataset")
def recall(
    length: Length = 20, examples: ExampleCount = 1000, symbols: Classes = 4, noise: NonNegative = 0.1
) -> Source:
    """Recall which of K symbols came first, after T - 1 steps of noise.

    Inputs are `[N, T, K]`: a one for the symbol in the first step, N(0, noise^2) in all later ones. The class
    is the symbol. Without memory, 1 / K of the answers are right.

    Args:
        length: T, 2 to 10^6; the symbol must be kept over T - 1 steps.
        examples: N, up to 10^8; equally many of each symbol.
        symbols: K, 2 to 10,000.
        noise: Standard deviation of the noise, 0 or more.

    Reference:
        Bengio et al. 1994, Learning long-term dependencies with gradient descent is difficult: their latching
        problem, with K symbols.
    """
    _check_size(examples, length, symbols)

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "recall")
        inputs = random.standard_normal((examples, length, symbols), np.float32)
        inputs *= noise
        labels = np.arange(examples) % symbols
        inputs[:, 0] = 0
        inputs[np.arange(examples), 0, labels] = 1
        return classification_examples(inputs, labels, symbols), None

    return Source(load)


@register("dataset")
def adding(length: Length = 50, examples: ExampleCount = 1000) -> Source:
    """Add the two numbers of a sequence that are marked: a regression.

    Inputs are `[N, T, 2]`: numbers uniform in [0, 1], and marks, which are 1 at one step of the first half
    and at one of the second, else 0. The target is the sum of the two marked numbers. The answer 1 to all has
    a mean squared error of 1 / 6 = 0.167.

    Args:
        length: T, 2 to 10^6.
        examples: N, up to 10^8.

    Reference:
        Hochreiter & Schmidhuber 1997, Long short-term memory, in the form of Le et al. 2015.
    """
    _check_size(examples, length, 2)

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "adding")
        numbers, marks = random.random((examples, length)), np.zeros((examples, length))
        rows, half = np.arange(examples), length // 2
        for low, high in ((0, half), (half, length)):
            marks[rows, random.integers(low, high, examples)] = 1
        return regression_examples(np.stack([numbers, marks], axis=-1), (numbers * marks).sum(1)), None

    return Source(load)


def _check_size(*shape: int) -> None:
    if np.prod(shape, dtype=float) > MAXIMUM_VALUES:
        examples, *example_shape = shape
        raise InvalidValue(f"{examples} x {example_shape} values need more memory than there is")
