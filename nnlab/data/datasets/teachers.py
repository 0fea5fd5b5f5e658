"""Regressions whose true function is known: targets follow a formula, and the test set is without noise.

`N` examples, `D` features. The run's seed draws the training examples, so that runs of different seeds are
resampled training sets; the function and the test set are the same for all of them.
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
    """y = slope x + cos(frequency x) + noise N(0, 1), x ~ U(-1, 1); the test set is an even grid of [-1, 1].

    The defaults are those of Schaeffer et al. 2023 (polynomial_regression.py), on half their grid.
    """

    def load(seed: int) -> tuple[Examples, Examples]:
        random = generator(seed, "wave")
        inputs, errors = random.uniform(-1, 1, examples), random.standard_normal(examples)
        return at(inputs, noise * errors), at(np.linspace(-1, 1, test_examples), 0.0)

    def at(inputs: np.ndarray, errors: np.ndarray | float) -> Examples:
        x = as_float32(inputs).astype(np.float64)  # the targets are those of the inputs as they are kept
        return regression_examples(x[:, None], slope * x + np.cos(frequency * x) + errors)

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
    """y = w.z + noise N(0, 1), z ~ N(0, I), w ~ N(0, I): a student learns of a linear teacher.

    features: D. seen: the student's inputs are the first so many of z (null: all); the rest is what the best
    linear student cannot explain. residual: false leaves that out of y. slow: the last so many inputs come
    divided by `condition`, so that gradient descent learns them condition^2 times slower. weight_norm: w is
    brought to this length (null: as drawn, about sqrt(D)); its square is the variance of w.z. seed: draws w
    and the test set. Schaeffer et al. 2023 (linear_regression_ablations.py) and, with slow inputs, Pezeshki
    et al. 2021.
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
        return (
            taught(weights, generator(run_seed, "linear_teacher", "train"), examples, noise),
            taught(weights, generator(seed, "linear_teacher", "test"), test_examples, 0.0),
        )

    def taught(weights: np.ndarray, random: np.random.Generator, count: int, noise: float) -> Examples:
        drawn = random.standard_normal((count, features + 1))  # by rows, so that more examples keep the first
        z, errors = drawn[:, :-1], drawn[:, -1]
        return regression_examples(z[:, :inputs] * scale, z @ weights + noise * errors)

    return Source(load)
