"""Fixed features against their definitions, on the host and compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config.resolve import resolve
from nnlab.errors import InvalidValue
from nnlab.nn.features import NUMPY_LAYERS, legendre, random_fourier
from nnlab.nn.model import build_model
from nnlab.registry import build, components

CASES = {
    "legendre": ({"type": "legendre", "degree": 5, "constant": True}, (1,), (6,)),
    "random_fourier": ({"type": "random_fourier", "units": 7, "scale": 0.5}, (3,), (7,)),
}


def applied(net, x, seed=0):
    params, state = net.init(seed)
    return net.apply(params, state, x, key=jax.random.key(0), train=False)


def on_host(layer, state, x):
    return layer.apply({}, state, x, key=None, train=False).value


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_trained_and_state_stays(name):
    config, input_shape, output_shape = CASES[name]
    net = build_model(build("layer", resolve("layer", config, (), [])), input_shape)
    assert net.setup.output_shape == output_shape
    assert net.setup.count("params") == 0
    x = np.random.default_rng(0).uniform(-1, 1, (4, *input_shape)).astype(np.float32)
    out = applied(net, jnp.asarray(x))
    assert (out.value.shape, out.value.dtype) == ((4, *output_shape), jnp.float32)
    _, state = net.init(0)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), out.state, state))
    assert jax.tree.structure(out.state) == jax.tree.structure(state)


@pytest.mark.parametrize("name", sorted(NUMPY_LAYERS))
def test_the_host_computes_as_the_compiled_program_does(name):
    assert name in components("layer")
    config, input_shape, _ = CASES[name]
    layer = build("layer", resolve("layer", config, (), []))
    state = build_model(layer, input_shape).init(3)[1].get(f"{name}_1", {})
    state = {key: value.astype(np.float64) for key, value in state.items()}
    x = np.random.default_rng(1).uniform(-1, 1, (9, *input_shape))
    found = on_host(layer, state, x)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, (state, x))
        compiled = jax.jit(lambda state, x: layer.apply({}, state, x, key=None, train=False).value)(*arrays)
        assert compiled.dtype == jnp.float64
    np.testing.assert_allclose(np.asarray(compiled), found, rtol=1e-12, atol=1e-13)


# --- legendre --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 3, 30, 200])
def test_legendre_equals_numpys(degree):
    x = np.linspace(-1, 1, 101)[:, None]
    expected = np.polynomial.legendre.legvander(x[:, 0], degree)
    np.testing.assert_allclose(on_host(legendre(degree), {}, x), expected[:, 1:], atol=1e-12)
    np.testing.assert_allclose(on_host(legendre(degree, constant=True), {}, x), expected, atol=1e-12)
    compiled = jax.jit(lambda x: on_host(legendre(degree), {}, x))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(np.asarray(compiled), expected[:, 1:], atol=1e-3 if degree > 30 else 2e-5)


def test_legendre_polynomials_are_orthogonal():
    points, weights = np.polynomial.legendre.leggauss(40)
    features = on_host(legendre(20, constant=True), {}, points[:, None])
    gram = features.T @ (weights[:, None] * features)
    np.testing.assert_allclose(gram, np.diag(2 / (2 * np.arange(21) + 1)), atol=1e-12)


@pytest.mark.parametrize("shape", [(2,), (1, 1), ()])
def test_legendre_takes_one_feature(shape):
    with pytest.raises(InvalidValue, match="one feature"):
        legendre(3).setup(shape)


def test_a_gradient_goes_through_legendre():
    """P_n' by NumPy's own derivative."""
    x = jnp.linspace(-0.9, 0.9, 7)[:, None]
    slope = jax.grad(lambda x: on_host(legendre(6), {}, x)[:, 5].sum())(x)
    derivative = np.polynomial.legendre.Legendre.basis(6).deriv()
    np.testing.assert_allclose(np.asarray(slope)[:, 0], derivative(np.asarray(x)[:, 0]), atol=1e-4)


# --- random Fourier features -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_random_fourier_features_approximate_the_gaussian_kernel(scale):
    """2/P sum of cos cos: mean exp(-scale^2 d^2 / 2), and each term's variance is at most 2."""
    units = 40_000
    net = build_model(random_fourier(units, scale), (4,))
    state = net.init(0)[1]["random_fourier_1"]
    x = np.random.default_rng(0).standard_normal((6, 4))
    features = on_host(random_fourier(units, scale), state, x)
    distance = np.square(x[:, None] - x[None]).sum(-1)
    error = features @ features.T - np.exp(-(scale**2) * distance / 2)
    assert np.abs(error).max() < 3 * np.sqrt(2 / units)


def test_random_fourier_features_are_their_formula():
    layer = random_fourier(5, scale=0.7)
    drawn = build_model(layer, (3,)).init(1)[1]["random_fourier_1"]
    state = {name: value.astype(np.float64) for name, value in drawn.items()}
    x = np.random.default_rng(0).standard_normal((4, 3))
    expected = np.sqrt(2 / 5) * np.cos(0.7 * x @ state["directions"] + state["phases"])
    np.testing.assert_allclose(on_host(layer, state, x), expected, rtol=1e-12)


def test_directions_and_phases_are_drawn_from_the_seed():
    net = build_model(random_fourier(20_000), (2,))
    first, again, other = (net.init(seed)[1]["random_fourier_1"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["directions"], again["directions"])
    assert np.isin(first["directions"], other["directions"]).mean() < 0.05
    assert first["directions"].std() == pytest.approx(1.0, rel=0.03)
    phases = first["phases"]
    assert 0 <= phases.min() < 0.01 < 6.27 < phases.max() < 2 * np.pi + 1e-6
    assert phases.mean() == pytest.approx(np.pi, rel=0.02)
    assert {value.dtype for value in first.values()} == {np.dtype(np.float32)}


def test_random_fourier_takes_one_axis():
    with pytest.raises(InvalidValue, match="flatten"):
        random_fourier(3).setup((4, 2))


# --- in training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features", [{"type": "random_fourier", "units": 30}, {"type": "legendre", "degree": 4}]
)
def test_gradient_training_moves_the_read_out_alone(features):
    from nnlab.config import check_tree
    from nnlab.config.document import Document
    from nnlab.training.experiment import build_experiment
    from nnlab.training.loop import train

    tree = {
        "name": "features",
        "data": {"type": "wave", "examples": 64, "frequency": 3.0, "batch_size": "full"},
        "model": [features, {"type": "dense", "units": 1}],
        "loss": "squared_error",
        "optimizer": {"type": "sgd", "learning_rate": 0.2},
        "train": {"steps": 40},
        "record": {"every": {"steps": 40}},
    }
    chunks = list(train(build_experiment(check_tree(Document(tree, {}, {}, "test")))))
    metrics = [chunk.tables["metrics"] for chunk in chunks]
    losses = np.concatenate([table["train_loss"] for table in metrics])
    assert losses[-1] < 0.6 * losses[0]
    assert all(chunk.finite for chunk in chunks)
