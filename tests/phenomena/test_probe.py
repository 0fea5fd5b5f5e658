"""The inside view against NumPy, jax.grad and constructed cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.nn.combinators import residual, sequential
from nnlab.nn.dense import dense
from nnlab.nn.model import build_model
from nnlab.nn.normalization import batch_norm
from nnlab.phenomena.layer_table import LAYER_PROBE
from nnlab.phenomena.probe import Snapshot, Updates, layer_rows, stages
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train

SEED = 3
KEY = jax.random.key(SEED)
RATE = 0.1
NO_DATA = (None, {}, None, None, None, None)  # the inside view has no use for them


def constant(value):
    return {"type": "constant", "value": value}


def seen(layers, x, gradients=None, changes=None):
    """The inside view of layers at their first weights, by column; gradients, changes: made from those."""
    x = np.asarray(x, np.float32)
    net = build_model(sequential(layers), x.shape[1:])

    def look(params, state, x):
        out = net.apply(params, state, x, key=KEY, train=True)
        g = params if gradients is None else gradients(params)
        c = params if changes is None else changes(params)
        updates = Updates(jax.tree.map(lambda leaf: -4.0 * leaf, c), lambda path: -0.25)
        return LAYER_PROBE.measure(
            net.setup, Snapshot(params, params, g, lambda: updates, out.intermediates, *NO_DATA)
        )

    found = jax.jit(look)(*net.init(SEED), jnp.asarray(x))
    return dict(zip(LAYER_PROBE.columns, (np.asarray(column) for column in found), strict=True))


# --- a whole record --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    """A net with every kind of row (relu, residual, batch norm, sigmoid, read-out) at step 0, full batch."""
    tree = {
        "name": "test",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [
            {"type": "dense", "units": 6, "bias_init": "normal"},
            "relu",
            {
                "type": "residual",
                "layers": [{"type": "dense", "units": 6, "kernel_init": "he_normal"}, "tanh"],
            },
            "batch_norm",
            {"type": "dense", "units": 5, "kernel_init": {"type": "normal", "std": 3.0}},
            "sigmoid",
            {"type": "dense", "units": 3},
        ],
        "optimizer": {"type": "sgd", "learning_rate": RATE},
        "train": {"steps": 0},
    }
    exp = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    (chunk,) = train(exp)
    params, _ = exp.model.init(0)
    return exp, chunk.tables, params


def by_hand(params, x):
    """The net's outputs, and each row's values after the activation that follows it, with its slopes."""
    z1 = x @ params["dense_1"]["kernel"] + params["dense_1"]["bias"][None]
    a1 = jnp.maximum(z1, 0)
    inner = params["residual_1"]["dense_1"]
    t = jnp.tanh(a1 @ inner["kernel"] + inner["bias"][None])
    a2 = a1 + t
    mean, variance = a2.mean(0, keepdims=True), a2.var(0, keepdims=True)
    n = (a2 - mean) / jnp.sqrt(variance + 1e-3)
    n = n * params["batch_norm_1"]["scale"][None] + params["batch_norm_1"]["shift"][None]
    s = 1 / (1 + jnp.exp(-(n @ params["dense_2"]["kernel"] + params["dense_2"]["bias"][None])))
    out = s @ params["dense_3"]["kernel"] + params["dense_3"]["bias"][None]
    values = [a1, t, n, s, out]
    slopes = [(z1 > 0).astype(jnp.float32), 1 - t**2, None, s * (1 - s), None]
    return out, values, slopes


PATHS = ["dense_1", "residual_1/dense_1", "batch_norm_1", "dense_2", "dense_3"]


def arrays_at(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


def norm_at(tree, path):
    return np.sqrt(sum((leaf**2).sum() for leaf in arrays_at(tree, path)))


def test_layers_table_equals_an_independent_computation(recorded):
    exp, tables, params = recorded
    layers = tables["layers"]
    x, labels = jnp.asarray(exp.data.train.inputs), jnp.asarray(exp.data.train.targets)

    def loss(params):
        log_p = jax.nn.log_softmax(by_hand(params, x)[0])
        return -(log_p * jax.nn.one_hot(labels, 3)).sum(-1).mean()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    _, values, slopes = jax.jit(by_hand)(params, x)

    assert layers["layer"].tolist() == PATHS
    assert layers["index"].tolist() == [1, 2, 3, 4, 5]
    assert layers["fan_in"].tolist() == [13, 6, None, 6, 5]
    assert layers["step"].tolist() == [0] * 5
    grad_norm = np.array([norm_at(gradients, path) for path in PATHS])
    weight_norm = np.array([norm_at(params, path) for path in PATHS])
    values = [np.asarray(v, np.float64) for v in values]
    flat = [None if s is None else np.abs(np.asarray(s)) < 0.05 for s in slopes]
    expected = {
        "grad_norm": grad_norm,
        "weight_norm": weight_norm,
        "update_ratio": RATE * grad_norm / weight_norm,
        "activation_mean": [v.mean() for v in values],
        "activation_std": [v.std() for v in values],
        "dead_fraction": [0.0 if f is None else f.all(0).mean() for f in flat],
        "saturated_fraction": [0.0, flat[1].mean(), 0.0, flat[3].mean(), 0.0],
    }
    assert 0 < expected["saturated_fraction"][1] < 1
    assert 0 < expected["saturated_fraction"][3] < 1
    for column, wanted in expected.items():
        np.testing.assert_allclose(layers[column], wanted, rtol=2e-5, atol=1e-6, err_msg=column)

    # in evaluation mode, batch norm's running averages are still 0 and 1: only the loss in training is ours
    assert np.isfinite(value)
    metrics = tables["metrics"]
    np.testing.assert_allclose(metrics["grad_norm"] ** 2, (layers["grad_norm"] ** 2).sum(), rtol=1e-6)
    np.testing.assert_allclose(metrics["weight_norm"] ** 2, (layers["weight_norm"] ** 2).sum(), rtol=1e-6)
    whole = np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(gradients)))
    np.testing.assert_allclose(metrics["grad_norm"], whole, rtol=1e-5)


def test_the_activation_that_follows_a_layer_is_its_last():
    layers = [dense(4), {"type": "dropout", "rate": 0.5}, "relu", "flatten", dense(4), batch_norm(), "tanh"]
    net = build_model(sequential([*layers, residual([dense(4), "sigmoid"]), dense(2)]), (4,))
    assert [(stage.path, stage.last) for stage in stages(net.setup)] == [
        ("dense_1", "relu_1"),
        ("dense_2", "dense_2"),
        ("batch_norm_1", "tanh_1"),
        ("residual_1/dense_1", "residual_1/sigmoid_1"),
        ("dense_3", "dense_3"),
    ]
    rows = layer_rows(net.setup, None)
    assert rows["index"] == [1, 2, 3, 4, 5]
    assert rows["fan_in"] == [4, 4, None, 4, 4]


# --- norms -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grad_norm_of():
    """The column grad_norm of three layers of 10,000 values and more, from their gradients' norms."""
    net = build_model(sequential([dense(100, kernel_init="zeros") for _ in range(3)]), (100,))
    column = LAYER_PROBE.columns.index("grad_norm")
    params, state = net.init(SEED)

    @jax.jit
    def look(gradients):
        out = net.apply(params, state, jnp.ones((3, 100)), key=KEY, train=True)
        return LAYER_PROBE.measure(
            net.setup,
            Snapshot(
                params,
                params,
                gradients,
                lambda: Updates(params, lambda path: 1.0),
                out.intermediates,
                *NO_DATA,
            ),
        )[column]

    def found(sizes):
        gradients = {
            name: jax.tree.map(
                lambda leaf, s=size: np.full(leaf.shape, s / 10_100**0.5, np.float32), params[name]
            )
            for name, size in zip(params, sizes, strict=True)
        }
        return np.asarray(look(gradients))

    return found


@pytest.mark.parametrize("size", [1e-30, 1e-24, 1e-20, 1e-9, 1e-5, 1.0, 1e5, 1e6, 1e12, 1e18])
def test_gradient_norms_neither_underflow_nor_overflow(grad_norm_of, size):
    np.testing.assert_allclose(grad_norm_of([size] * 3), size, rtol=1e-4)


def test_gradient_norms_of_very_different_layers_side_by_side(grad_norm_of):
    np.testing.assert_allclose(grad_norm_of([1e-30, 1.0, 1e12]), [1e-30, 1.0, 1e12], rtol=1e-4)
    np.testing.assert_allclose(grad_norm_of([1e-30, 0.0, 1e-3]), [1e-30, 0.0, 1e-3], rtol=1e-4)


def test_a_layer_that_is_no_number_leaves_the_others_alone(grad_norm_of):
    np.testing.assert_allclose(grad_norm_of([1.0, np.inf, 1e-30])[[0, 2]], [1.0, 1e-30], rtol=1e-4)
    np.testing.assert_allclose(grad_norm_of([1.0, np.nan, 1e-30])[[0, 2]], [1.0, 1e-30], rtol=1e-4)


def test_update_ratio_is_change_over_weight_and_empty_where_there_is_no_weight():
    def changes(params):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), params)

    layers = [
        dense(4, use_bias=False, kernel_init=constant(2.0)),
        dense(4, use_bias=False, kernel_init="zeros"),
    ]
    found = seen(layers, np.ones((2, 4)), changes=changes)
    np.testing.assert_allclose(found["weight_norm"], [8.0, 0.0])
    np.testing.assert_allclose(found["update_ratio"], [0.25, np.nan])


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_activation_mean_and_std_are_over_batch_and_units(offset):
    x = offset + np.random.default_rng(0).standard_normal((50, 3, 4))
    found = seen([dense(4, kernel_init="orthogonal"), "identity"], x)
    net = build_model(sequential([dense(4, kernel_init="orthogonal")]), (3, 4))
    kernel = np.asarray(net.init(SEED)[0]["dense_1"]["kernel"], np.float64)
    y = x.astype(np.float32).astype(np.float64) @ kernel
    np.testing.assert_allclose(found["activation_mean"], y.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["activation_std"], y.std(), rtol=1e-4)


# --- dead and saturated ----------------------------------------------------------------------------------


def fractions(layers, x):
    found = seen(layers, x)
    return found["dead_fraction"].tolist(), found["saturated_fraction"].tolist()


INPUTS = np.random.default_rng(0).standard_normal((32, 4))


def test_relu_far_below_zero_is_dead():
    assert fractions([dense(7, bias_init=constant(-10.0)), "relu"], 0.1 * INPUTS) == ([1.0], [0.0])
    assert fractions([dense(7, bias_init=constant(10.0)), "relu"], 0.1 * INPUTS) == ([0.0], [0.0])


def test_dead_does_not_depend_on_the_size_of_the_batch():
    """Sizes such as 41, of which n * (1 / n) is not 1 in float32, too."""
    layers = [dense(3, bias_init=constant(-10.0)), "relu"]
    found = {size: fractions(layers, np.zeros((size, 4)))[0][0] for size in (1, 41, 47, 64)}
    assert found == dict.fromkeys(found, 1.0)


def test_one_example_that_passes_keeps_a_unit_alive():
    x = np.full((40, 1), -1.0)
    assert fractions([dense(2, kernel_init=constant(1.0)), "relu"], x)[0] == [1.0]
    x[17] = 1.0
    assert fractions([dense(2, kernel_init=constant(1.0)), "relu"], x)[0] == [0.0]


def test_the_dead_are_counted_by_unit():
    """Four units whose only inputs are 1 or -1: half of them never pass."""
    net = [dense(4, use_bias=False, kernel_init=halves), "relu"]
    assert fractions(net, np.ones((10, 1))) == ([0.5], [0.0])


def halves(random, shape):
    return np.where(np.arange(shape[-1]) % 2 == 0, 1.0, -1.0).astype(np.float32)[None]


def test_a_sigmoid_of_huge_weights_is_saturated():
    dead, saturated = fractions([dense(50, kernel_init=constant(1e4)), "sigmoid"], INPUTS)
    assert saturated[0] > 0.99
    assert dead[0] > 0.9
    assert fractions([dense(50, kernel_init=constant(1e-4)), "sigmoid"], INPUTS) == ([0.0], [0.0])


def test_saturation_is_counted_by_value():
    """tanh' falls below 0.05 at |z| = 2.18: one of the four inputs lies beyond."""
    x = np.array([[0.0], [1.0], [2.0], [-3.0]])
    assert fractions([dense(5, use_bias=False, kernel_init=constant(1.0)), "tanh"], x) == ([0.0], [0.25])


@pytest.mark.parametrize(("slope", "dead"), [(0.01, 1.0), (0.06, 0.0), (0.3, 0.0)])
def test_a_leaky_relu_is_dead_where_its_slope_is_next_to_nothing(slope, dead):
    leaky = {"type": "leaky_relu", "negative_slope": slope}
    assert fractions([dense(3, bias_init=constant(-10.0)), leaky], 0.1 * INPUTS) == ([dead], [0.0])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "softplus", "gelu", "silu", "identity"])
def test_what_is_unbounded_does_not_saturate(activation):
    assert fractions([dense(3, kernel_init=constant(100.0)), activation], INPUTS)[1] == [0.0]


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "step", "sign"])
def test_what_is_bounded_saturates(activation):
    x = np.concatenate([np.full((5, 1), 50.0), np.full((5, 1), -50.0)])
    dead, saturated = fractions([dense(3, kernel_init=constant(1.0)), activation], x)
    assert dead == [1.0]
    assert saturated == pytest.approx([1.0], abs=1e-6)
    assert saturated[0] <= 1, "a fraction"


def test_layers_without_an_activation_are_neither_dead_nor_saturated():
    layers = [dense(3, kernel_init="zeros"), batch_norm(), dense(3), "tanh", dense(2)]
    dead, saturated = fractions(layers, np.full((5, 4), 1.0))
    assert dead == [0.0] * 4
    assert saturated == [0.0] * 4
