"""Generated data sets, drawn from the experiment's seed. `N` examples, `D` features."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples, Source, as_float32, classification_examples, regression_examples
from nnlab.errors import InvalidValue
from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.random import generator

MOST_VALUES = 2**40
Classes = Annotated[int, Ge(2), Le(10_000)]
ExampleCount = Annotated[int, Ge(1), Le(10**8)]


@register("dataset")
def gaussian(
    examples: ExampleCount = 1000, features: Count | list[Count] = 100, classes: Classes = 10
) -> Source:
    """Noise: inputs N(0, 1), labels uniform and independent of them; nothing can be learned but by heart.

    features: D, or a shape such as [28, 28].
    """
    shape = tuple(features) if isinstance(features, list) else (features,)
    if examples * math.prod(shape) > MOST_VALUES:
        raise InvalidValue(f"{examples} x {list(shape)} values need more memory than there is")

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "gaussian")
        inputs = random.standard_normal((examples, *shape), dtype=np.float32)
        return classification_examples(inputs, random.integers(0, classes, examples), classes), None

    return Source(load)


@register("dataset")
def spirals(
    examples: ExampleCount = 1000, classes: Classes = 2, turns: Positive = 1.5, noise: NonNegative = 0.05
) -> Source:
    """Interleaved spirals in the plane, one a class: radius t, angle 2 pi (turns t + class / classes).

    t is uniform in [0, 1]; noise: standard deviation added to both coordinates.
    """

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "spirals")
        labels = np.arange(examples) % classes
        radius = random.random(examples)
        angle = 2 * np.pi * (turns * radius + labels / classes)
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return classification_examples(
            points + noise * random.standard_normal(points.shape), labels, classes
        ), None

    return Source(load)


@register("dataset")
def xor(examples: ExampleCount = 400, noise: NonNegative = 0.2) -> Source:
    """Four corners (+-1, +-1), class 1 where the signs differ: no line separates them (lecture 000).

    noise: standard deviation added to both coordinates.
    """

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "xor")
        bits = np.stack([np.arange(examples) % 2, np.arange(examples) // 2 % 2], axis=1)
        points = 2.0 * bits - 1.0 + noise * random.standard_normal(bits.shape)
        return classification_examples(points, bits[:, 0] ^ bits[:, 1], 2), None

    return Source(load)


@register("dataset")
def boolean(operation: Literal["and", "or", "nand", "xor"] = "and") -> Source:
    """The four pairs of -1 (false) and 1 (true); class 1 where the operation is true of them.

    A line separates the two classes, but not those of xor: what a single unit, the perceptron of lecture 000,
    learns and what it cannot. Without a split all four are trained on.
    """

    def load(_: int) -> tuple[Examples, None]:
        pairs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        true = (pairs > 0).sum(1)
        holds = {"and": true == 2, "or": true > 0, "nand": true < 2, "xor": true == 1}
        return classification_examples(pairs, holds[operation], 2), None

    return Source(load, train_on_all=True)


@register("dataset")
def ravine(
    condition: Annotated[float, Ge(1.0)] = 100.0, angle: Annotated[float, Ge(0.0), Le(90.0)] = 0.0
) -> Source:
    """Two examples that make a long narrow valley of the loss: L(w) = 1/2 (w - 1)^T H (w - 1).

    L is the squared_error of one dense unit without bias, w its two weights, in a batch of both examples. H
    has the eigenvalues 1 along (cos angle, sin angle) and 1 / condition across. angle: in degrees; at 0 the
    valley runs along the second weight. The inputs are H's axes, each times the root of its eigenvalue, and
    y = x . (1, 1). Without a split both are trained on. The elongated bowl of lecture 004.
    """

    def load(_: int) -> tuple[Examples, None]:
        turn = math.radians(angle)
        steep, flat = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        inputs = as_float32(np.stack([steep, flat / math.sqrt(condition)])).astype(np.float64)
        return regression_examples(inputs, inputs.sum(1)), None

    return Source(load, train_on_all=True)
