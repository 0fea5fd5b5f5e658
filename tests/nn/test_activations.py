"""Activations and their slopes against closed forms in float64 NumPy, and against PyTorch."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import fully_optimized

from nnlab.registry import build, components

POINTS = np.linspace(-8.0, 8.0, 1001) + 1e-3  # no point on a kink
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

erf = np.vectorize(math.erf)


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _normal_density(z):
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh(z):
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _gelu_tanh_slope(z):
    inner = np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    return 0.5 * (1 + inner) + 0.5 * z * (1 - inner**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)


def _elu(alpha):
    return lambda z: np.where(z >= 0, z, alpha * (np.exp(z) - 1))


def _elu_slope(alpha):
    return lambda z: np.where(z >= 0, 1.0, alpha * np.exp(z))


def _leaky(slope):
    return lambda z: np.where(z >= 0, z, slope * z)


# name -> [(arguments, f, f', PyTorch's: (name in torch.nn.functional or torch, arguments))]
FORMULAS = {
    "identity": [({}, lambda z: z, np.ones_like, None)],
    "sigmoid": [({}, _sigmoid, lambda z: _sigmoid(z) * (1 - _sigmoid(z)), ("sigmoid", {}))],
    "tanh": [({}, np.tanh, lambda z: 1 - np.tanh(z) ** 2, ("tanh", {}))],
    "scaled_tanh": [
        (
            {},
            lambda z: 1.7159 * np.tanh(2 * z / 3),
            lambda z: 1.7159 * 2 / 3 * (1 - np.tanh(2 * z / 3) ** 2),
            None,
        )
    ],
    "relu": [({}, lambda z: np.maximum(0, z), lambda z: (z > 0) * 1.0, ("relu", {}))],
    "leaky_relu": [
        ({}, _leaky(0.01), lambda z: np.where(z >= 0, 1.0, 0.01), ("leaky_relu", {})),
        (
            {"negative_slope": 0.2},
            _leaky(0.2),
            lambda z: np.where(z >= 0, 1.0, 0.2),
            ("leaky_relu", {"negative_slope": 0.2}),
        ),
    ],
    "elu": [
        ({}, _elu(1.0), _elu_slope(1.0), ("elu", {})),
        ({"alpha": 0.5}, _elu(0.5), _elu_slope(0.5), ("elu", {"alpha": 0.5})),
    ],
    "selu": [
        (
            {},
            lambda z: SELU_SCALE * _elu(SELU_ALPHA)(z),
            lambda z: SELU_SCALE * _elu_slope(SELU_ALPHA)(z),
            ("selu", {}),
        )
    ],
    "gelu": [
        (
            {},
            lambda z: z * (1 + erf(z / math.sqrt(2))) / 2,
            lambda z: (1 + erf(z / math.sqrt(2))) / 2 + z * _normal_density(z),
            ("gelu", {}),
        ),
        ({"approximate": True}, _gelu_tanh, _gelu_tanh_slope, ("gelu", {"approximate": "tanh"})),
    ],
    "silu": [
        (
            {},
            lambda z: z * _sigmoid(z),
            lambda z: _sigmoid(z) * (1 + z * (1 - _sigmoid(z))),
            ("silu", {}),
        )
    ],
    "softplus": [({}, lambda z: np.log1p(np.exp(z)), _sigmoid, ("softplus", {}))],
    "square": [({}, lambda z: z * z, lambda z: 2 * z, ("square", {}))],
    "step": [({}, lambda z: (z > 0) * 1.0, np.zeros_like, None)],
    "sign": [({}, np.sign, np.zeros_like, ("sign", {}))],
}

CASES = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in FORMULAS.items()
    for i, case in enumerate(cases)
]


def values_and_slopes(cases, z):
    """Of each activation, a name and arguments, at z; by one program."""
    functions = [build("activation", {"type": name, **arguments}) for name, arguments in cases]
    z = jnp.asarray(z, jnp.float32)
    found = jax.jit(lambda z: [jax.jvp(function, (z,), (jnp.ones_like(z),)) for function in functions])(z)
    assert all(array.dtype == jnp.float32 for pair in found for array in pair)
    return [tuple(np.asarray(array, np.float64) for array in pair) for pair in found]


def value_and_slope(name, arguments, z):
    return values_and_slopes([(name, arguments)], z)[0]


@pytest.fixture(scope="module")
def at_points():
    """The value and slope of each case at POINTS."""
    cases = [case.values[:2] for case in CASES]
    with fully_optimized():
        found = values_and_slopes(cases, POINTS)
    return {(name, str(arguments)): pair for (name, arguments), pair in zip(cases, found, strict=True)}


@pytest.mark.parametrize("name", components("activation"))
def test_every_activation_has_its_formula_here(name):
    assert name in FORMULAS, f"give the activation '{name}' its closed form in FORMULAS"


@pytest.mark.parametrize(("name", "arguments", "formula", "slope", "_"), CASES)
def test_value_and_slope_equal_the_closed_form(at_points, name, arguments, formula, slope, _):
    z = POINTS.astype(np.float32).astype(np.float64)  # the numbers that the function is given
    found, found_slope = at_points[name, str(arguments)]
    np.testing.assert_allclose(found, formula(z), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(found_slope, slope(z), rtol=2e-6, atol=5e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "theirs"),
    [pytest.param(*c.values[:2], c.values[4], id=c.id) for c in CASES if c.values[4]],
)
def test_value_and_slope_equal_pytorch(at_points, name, arguments, theirs):
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, theirs[0], None) or getattr(torch, theirs[0])
    z = torch.tensor(POINTS.astype(np.float32), requires_grad=True)
    value = functools.partial(function, **theirs[1])(z)
    value.sum().backward()
    found, found_slope = at_points[name, str(arguments)]
    np.testing.assert_allclose(found, value.detach().numpy(), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(found_slope, z.grad.numpy(), rtol=2e-6, atol=5e-6)


def test_values_and_slopes_at_zero():
    at_zero = {name: [float(n) for n in value_and_slope(name, {}, 0.0)] for name in ("relu", "step", "sign")}
    assert at_zero == {"relu": [0.0, 0.0], "step": [0.0, 0.0], "sign": [0.0, 0.0]}
    found = values_and_slopes([(name, {}) for name in components("activation")], 0.0)
    assert np.isfinite(found).all()
    assert value_and_slope("sigmoid", {}, 0.0) == (0.5, 0.25)


@pytest.mark.parametrize("name", [n for n in components("activation") if n != "square"])
def test_finite_far_out(name):
    value, slope = value_and_slope(name, {}, [-1e30, -1e4, -100.0, 100.0, 1e4, 1e30])
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


def test_greatest_slopes():
    """Lecture 001: a sigmoid passes a quarter of the gradient at most, tanh all of it."""
    z = np.linspace(-8, 8, 1001)
    assert value_and_slope("sigmoid", {}, z)[1].max() == pytest.approx(0.25, abs=1e-6)
    assert value_and_slope("tanh", {}, z)[1].max() == pytest.approx(1.0, abs=1e-6)
