"""Two half-moons in the plane."""

from __future__ import annotations

import numpy as np

from nnlab.data.examples import Examples, Source, classification_examples
from nnlab.registry import Count, NonNegative, register
from nnlab.system.random import generator


@register("dataset")
def moons(examples: Count = 1000, noise: NonNegative = 0.1) -> Source:
    """Two interleaved half-circles of radius 1, one a class. Inputs `[N, 2]`.

    Args:
        examples: N, half of them of each class, give or take one.
        noise: Standard deviation of what is added to both coordinates.
    """

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "moons")
        labels = np.arange(examples) % 2
        angle = np.pi * random.uniform(size=examples)
        upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        inputs = np.where(labels[:, None] == 0, upper, [1.0, 0.5] - upper)
        return classification_examples(inputs + noise * random.normal(size=(examples, 2)), labels, 2), None

    return Source(load)
