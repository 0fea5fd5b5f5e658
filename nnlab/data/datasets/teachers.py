"""Regressions whose true function is known: targets follow a formula, and the test set is without noise.

`N` is the number of examples, `D` that of features. The run's seed draws the training examples, so that runs
of different seeds have resampled training sets; the function and the test set are the same for all of them.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from nnlab.data.datasets.synthetic import ExampleCount
from nnlab.data.examples import Examples, Source, as_float32, regression_examples
from nnlab.errors import InvalidValue
from nnlab.registry import Count, NonNegative, Positive, register
from nnlab.system.random import generator

FeatureCount = Annotated[int, Ge(1), Le(10**6)]


@register("dataset")
def wave(
    examples: ExampleCount = 15,
    slope: float = 2.0,
    frequency: float = 25.0,
    noise: NonNegative = 0.0,
    test_examples: ExampleCount = 500,
) -> Source:
    """A wave on a line, y = slope x + cos(frequency x) + noise N(0, 1) with x ~ U(-1, 1).

    The test set is an even grid of [-1, 1], without noise.

    Args:
        examples: Training examples, up to 10^8.
        slope: Of the line.
        frequency: Of the wave, in radians per unit of x.
        noise: Standard deviation of the noise on training targets, 0 or more.
        test_examples: Points of the test grid, up to 10^8.

    Reference:
        Schaeffer et al. 2023, Double descent demystified (polynomial_regression.py), which has the defaults,
        on twice the grid.
    """

    def load(seed: int) -> tuple[Examples, Examples]:
        random = generator(seed, "wave")
        inputs, errors = random.uniform(-1, 1, examples), random.standard_normal(examples)
        return label(inputs, noise * errors), label(np.linspace(-1, 1, test_examples), 0.0)

    def label(inputs: np.ndarray, errors: np.ndarray | float) -> Examples:
        x = as_float32(inputs).astype(np.float64)  # targets of the inputs as they are after rounding
        return regression_examples(x[:, None], slope * x + np.cos(frequency * x) + errors)

    return Source(load)


@register("dataset")
def sines(
    examples: Annotated[int, Ge(2), Le(10**6)] = 200,
    frequencies: list[Count] | None = None,
    seed: Annotated[int, Ge(0), Lt(2**32)] = 42,
) -> Source:
    """A sum of sines on an even grid, y = sum_k sin(2 pi k x + phase_k) with x = i / N for i = 0 .. N - 1.

    The test set has the points halfway between. All runs have the same function, whatever their seed.

    Args:
        examples: N, 2 to 10^6.
        frequencies: The frequencies k, each below N / 2; null is 1, 2, 3, 4, 5, 6, 8 and 10.
        seed: Draws the phases, uniform in [0, 2 pi).

    Raises:
        InvalidValue: There are no frequencies, or one is too high for the grid.

    Reference:
        Rahaman et al. 2019, On the spectral bias of neural networks (section 3).
    """
    waves = np.array([1, 2, 3, 4, 5, 6, 8, 10] if frequencies is None else frequencies)
    if not waves.size or 2 * waves.max() >= examples:
        raise InvalidValue(
            f"a grid of {examples} points has frequencies from 1 to {(examples - 1) // 2}; give some of them",
            ("frequencies",),
        )
    phases = generator(seed, "sines").uniform(0, 2 * np.pi, len(waves))

    def load(run_seed: int) -> tuple[Examples, Examples]:
        places = np.arange(examples)
        return label(places / examples), label((places + 0.5) / examples)

    def label(inputs: np.ndarray) -> Examples:
        x = as_float32(inputs).astype(np.float64)[:, None]  # targets of the inputs as they are after rounding
        return regression_examples(x, np.sin(2 * np.pi * x * waves + phases).sum(1))

    return Source(load)


@register("dataset")
def linear_teacher(
    examples: ExampleCount = 1000,
    features: FeatureCount = 30,
    seen: Count | None = None,
    residual: bool = True,
    noise: NonNegative = 0.0,
    slow: Annotated[int, Ge(0)] = 0,
    condition: Annotated[float, Ge(1.0)] = 1.0,
    weight_norm: Positive | None = None,
    test_examples: ExampleCount = 1000,
    seed: Annotated[int, Ge(0), Lt(2**32)] = 42,
) -> Source:
    """A linear teacher, y = w.z + noise N(0, 1) with z ~ N(0, I) and w ~ N(0, I).

    The student's inputs are the first features of z. What depends on the rest, the best linear student cannot
    explain.

    Args:
        examples: Training examples, up to 10^8.
        features: D, the length of z, up to 10^6.
        seen: How many features of z the student's inputs have; null is all.
        residual: Whether y depends on the features that the student does not see.
        noise: Standard deviation of the noise on training targets, 0 or more.
        slow: How many inputs, the last ones, are divided by `condition`, so that gradient descent learns them
            condition^2 times slower.
        condition: Divides the slow inputs; 1 or more.
        weight_norm: The length that w is scaled to; its square is the variance of w.z. null leaves w as it is
            drawn, with a length of about sqrt(D).
        test_examples: Test examples, without noise, up to 10^8.
        seed: Draws w and the test set.

    Raises:
        InvalidValue: There are fewer features than `seen`, or fewer inputs than `slow`.

    Reference:
        Schaeffer et al. 2023, Double descent demystified (linear_regression_ablations.py); with slow inputs
        Pezeshki et al. 2021, Multi-scale feature learning dynamics.
    """
    inputs = features if seen is None else seen
    if inputs > features:
        raise InvalidValue(f"seen: {inputs} is more than the {features} features there are", ("seen",))
    if slow > inputs:
        raise InvalidValue(f"slow: {slow} is more than the {inputs} inputs there are", ("slow",))
    scale = np.where(np.arange(inputs) < inputs - slow, 1.0, 1.0 / condition)

    def load(run_seed: int) -> tuple[Examples, Examples]:
        weights = generator(seed, "linear_teacher", "weights").standard_normal(features)
        if weight_norm is not None:
            weights *= weight_norm / np.linalg.norm(weights)
        if not residual:
            weights[inputs:] = 0.0
        train_stream = generator(run_seed, "linear_teacher", "train")
        test_stream = generator(seed, "linear_teacher", "test")
        return (
            _draw_linear(weights, scale, examples, noise, train_stream),
            _draw_linear(weights, scale, test_examples, 0.0, test_stream),
        )

    return Source(load)


def _draw_linear(
    weights: np.ndarray, scale: np.ndarray, count: int, noise: float, random: np.random.Generator
) -> Examples:
    """Examples of a linear teacher. scale: `[inputs]`, multiplies the first features of z, the inputs."""
    values = random.standard_normal((count, len(weights) + 1))  # by rows: more examples keep the first ones
    z, errors = values[:, :-1], values[:, -1]
    return regression_examples(z[:, : len(scale)] * scale, z @ weights + noise * errors)


@register("dataset")
def relu_teacher(
    examples: ExampleCount = 300,
    features: FeatureCount = 30,
    units: Count = 3,
    noise: NonNegative = 0.0,
    test_examples: ExampleCount = 1000,
    seed: Annotated[int, Ge(0), Lt(2**32)] = 42,
) -> Source:
    """A teacher of a few ReLU units, y = sum over j of a_j relu(w_j.x) + noise N(0, 1), with x ~ N(0, I).

    The directions w_j are random and of length 1, a_j is 1 and -1 in turn. A net that learns these features
    needs few examples; one that fits a fixed kernel needs many.

    Args:
        examples: Training examples, up to 10^8.
        features: D, the length of x, up to 10^6.
        units: The number of directions.
        noise: Standard deviation of the noise on training targets, 0 or more.
        test_examples: Test examples, without noise, up to 10^8.
        seed: Draws the directions and the test set.

    Reference:
        Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming", section 3.1.
    """

    signs = np.where(np.arange(units) % 2 == 0, 1.0, -1.0)

    def load(run_seed: int) -> tuple[Examples, Examples]:
        directions = generator(seed, "relu_teacher", "directions").standard_normal((features, units))
        directions /= np.linalg.norm(directions, axis=0)
        train_stream = generator(run_seed, "relu_teacher", "train")
        test_stream = generator(seed, "relu_teacher", "test")
        train = draw(directions, examples, noise, train_stream)
        return train, draw(directions, test_examples, 0.0, test_stream)

    def draw(directions: np.ndarray, count: int, noise: float, random: np.random.Generator) -> Examples:
        values = random.standard_normal((count, features + 1))
        inputs = as_float32(values[:, :-1]).astype(np.float64)  # targets of the inputs as they are rounded
        outputs = np.maximum(inputs @ directions, 0.0) @ signs
        return regression_examples(inputs, outputs + noise * values[:, -1])

    return Source(load)
