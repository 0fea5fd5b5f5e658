"""Generated data sets, drawn from the experiment's seed.

`N` is the number of examples, `D` that of features.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples, Source, as_float32, classification_examples, regression_examples
from nnlab.errors import InvalidValue
from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.imports import Array, jax, jnp
from nnlab.system.random import generator

MAXIMUM_VALUES = 2**40  # of all inputs
Classes = Annotated[int, Ge(2), Le(10_000)]
ExampleCount = Annotated[int, Ge(1), Le(10**8)]


@register("dataset")
def gaussian(
    examples: ExampleCount = 1000, features: Count | list[Count] = 100, classes: Classes = 10
) -> Source:
    """Pure noise: inputs N(0, 1) and uniform labels, independent of each other.

    Nothing can be learned but by heart.

    Args:
        examples: N, up to 10^8.
        features: D, or a shape such as [28, 28].
        classes: The number of classes, 2 to 10,000.
    """
    shape = tuple(features) if isinstance(features, list) else (features,)
    if examples * math.prod(shape) > MAXIMUM_VALUES:
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
    """Interleaved spirals in the plane, one for each class.

    A point has radius t and angle 2 pi (turns t + class / classes), t being uniform in [0, 1].

    Args:
        examples: N, up to 10^8; equally many of each class.
        classes: The number of classes, 2 to 10,000.
        turns: Turns of each spiral, above 0.
        noise: Standard deviation of the noise added to both coordinates, 0 or more.
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
    """Clouds around the four corners (+-1, +-1), with class 1 where the signs differ.

    No line separates the classes.

    Args:
        examples: N, up to 10^8; equally many at each corner.
        noise: Standard deviation of the noise added to both coordinates, 0 or more.

    Reference:
        Lecture 000.
    """

    def load(seed: int) -> tuple[Examples, None]:
        random = generator(seed, "xor")
        bits = np.stack([np.arange(examples) % 2, np.arange(examples) // 2 % 2], axis=1)
        points = 2.0 * bits - 1.0 + noise * random.standard_normal(bits.shape)
        return classification_examples(points, bits[:, 0] ^ bits[:, 1], 2), None

    def fresh(key: Array, count: int) -> tuple[Array, Array]:
        of_bits, of_noise = jax.random.split(key)
        bits = jax.random.bernoulli(of_bits, shape=(count, 2))
        points = jnp.where(bits, 1.0, -1.0) + noise * jax.random.normal(of_noise, bits.shape)
        return points, (bits[:, 0] ^ bits[:, 1]).astype(jnp.int32)

    return Source(load, fresh=fresh)


@register("dataset")
def sparse_parity(
    features: Annotated[int, Ge(1), Le(10**6)] = 30,
    relevant: Count = 3,
    examples: ExampleCount = 1000,
    test_examples: ExampleCount = 1000,
) -> Source:
    """Signs, each -1 or 1 with even odds, with class 1 where the product of the first few of them is 1.

    Fewer than `relevant` of them say nothing of the class, and which ones matter must be found out. With
    `fresh: true` each step has examples of its own.

    Args:
        features: D, up to 10^6.
        relevant: How many make the class; at most `features`.
        examples: Training examples, up to 10^8.
        test_examples: Test examples, up to 10^8; they change with the seed, too.

    Raises:
        InvalidValue: More features make the class than there are, or the values need more memory than there
            is.

    Reference:
        Barak et al. 2022, Hidden progress in deep learning: SGD learns parities near the computational limit.
    """
    if relevant > features:
        raise InvalidValue(f"{relevant} features make the class, and there are {features}", ("relevant",))
    if (examples + test_examples) * features > MAXIMUM_VALUES:
        raise InvalidValue(f"{examples} x {features} values need more memory than there is")

    def load(seed: int) -> tuple[Examples, Examples]:
        parts = []
        for part, count in (("train", examples), ("test", test_examples)):
            bits = generator(seed, "sparse_parity", part).integers(0, 2, (count, features), np.int8)
            inputs = 2.0 * bits.astype(np.float32) - 1.0
            parts.append(classification_examples(inputs, inputs[:, :relevant].prod(1) > 0, 2))
        return parts[0], parts[1]

    def fresh(key: Array, count: int) -> tuple[Array, Array]:
        inputs = jax.random.rademacher(key, (count, features), np.float32)
        return inputs, (inputs[:, :relevant].prod(1) > 0).astype(jnp.int32)

    return Source(load, fresh=fresh)


@register("dataset")
def sawtooth(
    folds: Annotated[int, Ge(1), Le(16)] = 5, examples: ExampleCount = 512, test_examples: ExampleCount = 512
) -> Source:
    """A sawtooth on a line: class 1 where the tent map, applied `folds` times to x, lies above 1/2.

    The tent map is 2 x up to 1/2 and 2 - 2 x from there on, so that the class changes 2^folds times between 0
    and 1. Two ReLU units a layer fold once; a single layer needs a unit for each change. Examples are at the
    centres of equal parts of [0, 1], those for test as well.

    Args:
        folds: How many times the tent map is applied, 1 to 16.
        examples: Training examples, up to 10^8.
        test_examples: Examples for test, up to 10^8.

    Reference:
        Telgarsky 2016.
    """

    def centres(count: int) -> Examples:
        x = (np.arange(count) + 0.5) / count
        folded = x
        for _ in range(folds):
            folded = np.where(folded < 0.5, 2 * folded, 2 - 2 * folded)
        return classification_examples(x[:, None], (folded > 0.5).astype(np.int64), 2)

    return Source(lambda seed: (centres(examples), centres(test_examples)))


@register("dataset")
def sparse_features(
    examples: ExampleCount = 1000,
    features: Count = 20,
    density: Annotated[Positive, Le(1.0)] = 1.0,
    test_examples: ExampleCount = 1000,
) -> Source:
    """Features of which few are there at once: each is U(0, 1) with probability `density`, else 0.

    The targets are the inputs. With `fresh: true` each step has examples of its own.

    Args:
        examples: Training examples, up to 10^8.
        features: D, the features of an example.
        density: The share of the features that are not 0, above 0 and at most 1.
        test_examples: Test examples, up to 10^8; they change with the seed, too.

    Raises:
        InvalidValue: The values need more memory than there is.

    Reference:
        Elhage et al. 2022, Toy models of superposition, whose sparsity is 1 - density.
    """
    if (examples + test_examples) * features > MAXIMUM_VALUES:
        raise InvalidValue(f"{examples} x {features} values need more memory than there is")

    def draw(count: int, random: np.random.Generator) -> Examples:
        values = random.random((count, features), np.float32)
        values[random.random((count, features), np.float32) >= density] = 0.0
        return regression_examples(values, values)

    def load(seed: int) -> tuple[Examples, Examples]:
        train, test = (generator(seed, "sparse_features", part) for part in ("train", "test"))
        return draw(examples, train), draw(test_examples, test)

    def fresh(key: Array, count: int) -> tuple[Array, Array]:
        of_values, of_presence = jax.random.split(key)
        values = jax.random.uniform(of_values, (count, features))
        values = jnp.where(jax.random.bernoulli(of_presence, density, values.shape), values, 0.0)
        return values, values

    return Source(load, fresh=fresh)


@register("dataset")
def boolean(operation: Literal["and", "or", "nand", "xor"] = "and") -> Source:
    """The four pairs of -1 (false) and 1 (true), with class 1 where an operation is true of them.

    A line separates the two classes, except those of xor: this is what a single unit, the perceptron of
    lecture 000, can and cannot learn. Without a split all four are trained on.

    Args:
        operation: `and`, `or`, `nand` (not and) or `xor` (exactly one is true).

    Reference:
        Lecture 000.
    """

    def load(_: int) -> tuple[Examples, None]:
        pairs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        count = (pairs > 0).sum(1)  # of true operands
        labels = {"and": count == 2, "or": count > 0, "nand": count < 2, "xor": count == 1}
        return classification_examples(pairs, labels[operation], 2), None

    return Source(load, train_on_all=True)


@register("dataset")
def ravine(
    condition: Annotated[float, Ge(1.0)] = 100.0, angle: Annotated[float, Ge(0.0), Le(90.0)] = 0.0
) -> Source:
    """Two examples whose loss is a long narrow valley, L(w) = 1/2 (w - 1)^T H (w - 1).

    L is the squared_error of one dense unit without bias, w its two weights, in a batch of both examples. H
    has the eigenvalues 1 along (cos angle, sin angle) and 1 / condition across. The inputs are H's axes, each
    times the root of its eigenvalue, and y = x . (1, 1). Without a split both are trained on.

    Args:
        condition: The ratio of H's eigenvalues, 1 or more.
        angle: Of the steep direction, in degrees from 0 to 90; at 0 the valley runs along the second weight.

    Reference:
        Lecture 004, the elongated bowl.
    """

    def load(_: int) -> tuple[Examples, None]:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        steep, flat = np.array([[cos, sin], [-sin, cos]])
        inputs = as_float32(np.stack([steep, flat / math.sqrt(condition)])).astype(np.float64)
        return regression_examples(inputs, inputs.sum(1)), None

    return Source(load, train_on_all=True)


@register("dataset")
def ring_of_gaussians(
    examples: ExampleCount = 4000,
    modes: Classes = 8,
    radius: Positive = 2.0,
    std: NonNegative = 0.05,
    test_examples: ExampleCount = 1000,
) -> Source:
    """Small round clouds in the plane, evenly spaced on a circle; the class of a point is its cloud.

    Each cloud is a mode of the density: a generative model should find all of them.

    Args:
        examples: Training examples, up to 10^8; equally many of each mode.
        modes: The number of clouds, 2 to 10,000.
        radius: Of the circle.
        std: Standard deviation of a cloud in either direction, 0 or more.
        test_examples: Examples for test, up to 10^8.

    Reference:
        Metz et al. 2017, Unrolled generative adversarial networks.
    """

    def draw(count: int, random: np.random.Generator) -> Examples:
        labels = np.arange(count) % modes
        angle = 2 * np.pi * labels / modes
        centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        points = as_float32(centres + std * random.standard_normal(centres.shape))
        return classification_examples(points, labels, modes)

    def load(seed: int) -> tuple[Examples, Examples]:
        train, test = (generator(seed, "ring_of_gaussians", part) for part in ("train", "test"))
        return draw(examples, train), draw(test_examples, test)

    return Source(load)
