"""Initializers: means, spreads, bounds and structure against their formulas."""

import math

import numpy as np
import pytest

from nnlab.errors import InvalidValue
from nnlab.registry import build, components
from nnlab.system.random import generator

SHAPES = [(300, 500), (500, 300), (40, 4000)]

# name -> standard deviation by fan_in and fan_out at gain 1
SCALED = {
    "glorot_normal": lambda i, o: math.sqrt(2 / (i + o)),
    "glorot_uniform": lambda i, o: math.sqrt(2 / (i + o)),
    "he_normal": lambda i, o: math.sqrt(2 / i),
    "he_uniform": lambda i, o: math.sqrt(2 / i),
    "lecun_normal": lambda i, o: math.sqrt(1 / i),
    "lecun_uniform": lambda i, o: math.sqrt(1 / i),
}
OTHERS = {"zeros", "constant", "normal", "uniform", "truncated_normal", "orthogonal", "given"}
CUT_AT_TWO = 0.879625661034239  # std of N(0, 1) cut at +-2: sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))


def draw(name, shape, seed=0, **arguments):
    initializer = build("initializer", {"type": name, **arguments})
    drawn = initializer(generator(seed, "first weights", "/dense_1/kernel"), shape)
    assert type(drawn) is np.ndarray
    assert (drawn.shape, drawn.dtype) == (shape, np.float32)
    assert drawn.flags.c_contiguous
    return drawn.astype(np.float64)


def assert_spread(drawn, std, mean=0.0):
    assert drawn.std() == pytest.approx(std, rel=0.02)
    assert drawn.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(drawn.size))


@pytest.mark.parametrize("name", components("initializer"))
def test_every_initializer_is_tested_here(name):
    assert name in SCALED or name in OTHERS, f"test the initializer '{name}' here"


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2), 4.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SCALED)
def test_spread_of_the_scaled_ones(name, shape, gain):
    drawn = draw(name, shape, gain=gain)
    std = gain * SCALED[name](*shape)
    assert_spread(drawn, std)
    if name.endswith("uniform"):
        bound = math.sqrt(3) * std
        assert np.abs(drawn).max() <= bound * (1 + 1e-6)
        assert drawn.max() > 0.99 * bound
        assert drawn.min() < -0.99 * bound
    else:  # plain normal, not cut: some 4.6 % lie beyond two standard deviations, and a few beyond three
        assert (np.abs(drawn) > 2 * std).mean() == pytest.approx(0.0455, rel=0.1)
        assert np.abs(drawn).max() > 3 * std


def test_glorot_uniform_has_the_variance_of_glorot_normal():
    uniform, normal = (draw(f"glorot_{which}", (300, 500), seed=3).var() for which in ("uniform", "normal"))
    assert uniform == pytest.approx(normal, rel=0.03)


def test_variances_of_the_lectures_table_on_a_square_layer():
    """Lecture 004's rows for ReLU are sqrt 2 times Glorot's: He, where fan_in = fan_out."""
    he, glorot = draw("he_normal", (400, 400)).var(), draw("glorot_normal", (400, 400), seed=1).var()
    assert he / glorot == pytest.approx(2.0, rel=0.03)
    logistic = draw("glorot_uniform", (400, 400), gain=4.0).var()
    assert logistic / glorot == pytest.approx(16.0, rel=0.03)


def test_receptive_field_counts_in_the_fans():
    assert_spread(draw("he_normal", (3, 3, 40, 60)), math.sqrt(2 / (9 * 40)))
    assert_spread(draw("glorot_normal", (3, 3, 40, 60)), math.sqrt(2 / (9 * 100)))


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40), (3, 3, 4, 50), (2, 5, 7, 11)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal(shape, gain):
    matrix = draw("orthogonal", shape, gain=gain).reshape(-1, shape[-1])
    shorter = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(shorter @ shorter.T, gain**2 * np.eye(len(shorter)), atol=2e-6 * gain**2)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2)])
def test_orthogonal_prefers_no_sign(shape):
    """Over all orthogonal matrices alike every entry has mean 0; QR alone leaves the first one negative."""
    drawn = np.mean([draw("orthogonal", shape, seed=seed) for seed in range(2000)], axis=0)
    assert np.abs(drawn).max() < 5 * math.sqrt(1 / max(shape) / 2000) * math.sqrt(2)


def test_normal_has_the_deviation_and_mean_given():
    assert_spread(draw("normal", (300, 500)), 0.01)
    assert_spread(draw("normal", (300, 500), std=2.0, mean=-3.0), 2.0, -3.0)


@pytest.mark.parametrize("limit", [0.05, 3.0])
def test_uniform_bounds(limit):
    drawn = draw("uniform", (300, 500), limit=limit)
    assert_spread(drawn, limit / math.sqrt(3))
    assert np.abs(drawn).max() <= limit * (1 + 1e-6)
    assert drawn.max() > 0.999 * limit
    assert drawn.min() < -0.999 * limit


@pytest.mark.parametrize(("std", "mean"), [(0.01, 0.0), (1.5, 4.0)])
def test_truncated_normal_is_cut_at_two_deviations(std, mean):
    drawn = draw("truncated_normal", (300, 500), std=std, mean=mean) - mean
    assert np.abs(drawn).max() <= 2 * std * (1 + 1e-5)
    assert np.abs(drawn).max() > 1.99 * std
    assert_spread(drawn, CUT_AT_TWO * std)


def test_constant_and_zeros():
    assert (draw("constant", (30, 50), value=-0.5) == -0.5).all()
    assert (draw("zeros", (30, 50)) == 0).all()


def test_given_values_have_the_shape_of_the_array():
    values = [[1, 2.5], [-3, 4], [0, 1e-3]]
    np.testing.assert_array_equal(draw("given", (3, 2), values=values), np.float32(values))
    with pytest.raises(InvalidValue, match=r"values make \[3, 2\], and the array is \[2, 3\]"):
        draw("given", (2, 3), values=values)
    for ragged in ([[1, 2], [3]], [["one"]], [[1, {}]]):
        with pytest.raises(InvalidValue, match="numbers in lists of equal length"):
            draw("given", (2, 2), values=ragged)


@pytest.mark.parametrize("name", sorted({*SCALED, *OTHERS} - {"zeros", "constant", "given"}))
def test_draws_follow_the_seed(name):
    assert draw(name, (8, 6), seed=1).tobytes() == draw(name, (8, 6), seed=1).tobytes()
    assert (draw(name, (8, 6), seed=1) != draw(name, (8, 6), seed=2)).mean() > 0.9


@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("name", sorted({*SCALED, *OTHERS}))
def test_fewer_than_two_axes(name, shape):
    given = np.ones(shape).tolist() if shape else 1.0
    arguments = {"constant": {"value": 1.0}, "given": {"values": given}}.get(name, {})
    if name in SCALED or name == "orthogonal":
        with pytest.raises(InvalidValue, match=r"needs at least two axes.*zeros.*normal"):
            draw(name, shape)
    else:
        draw(name, shape, **arguments)
