"""Generated data sets, drawn from the experiment's seed. `N` examples, `D` features."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples, Source, classified
from nnlab.errors import ValueDoesNotFit
from nnlab.randomness import generator
from nnlab.registry import Count, NonNegative, Positive, register

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
        raise ValueDoesNotFit(f"{examples} x {list(shape)} values need more memory than there is")

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "gaussian")
        inputs = random.standard_normal((examples, *shape), dtype=np.float32)
        return classified(inputs, random.integers(0, classes, examples), classes), None

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
        return classified(points + noise * random.standard_normal(points.shape), labels, classes), None

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
        return classified(points, bits[:, 0] ^ bits[:, 1], 2), None

    return Source(load)
