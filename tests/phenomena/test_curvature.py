"""Greatest eigenvalues of the Hessian, as trainings record them: the whole Hessian's, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import experiment_of, tables_of

from nnlab.phenomena.curvature import greatest_eigenvalues
from nnlab.training.loop import train

NET = {
    "name": "curved",
    "data": {"type": "xor", "examples": 30, "split": {"train": 0.6, "validation": 0.4}, "batch_size": 7},
    "model": [{"type": "dense", "units": 3}, "tanh", {"type": "dense", "units": 2}],
    "loss": "cross_entropy",
    "regularizers": [{"type": "l2", "strength": 0.1}],
    "record": {"every": {"steps": 4}, "layers": False},
    "train": {"steps": 8},
}
RAVINE = {
    "name": "ravine",
    "data": {"type": "ravine", "condition": 10, "batch_size": "full"},
    "model": [{"type": "dense", "units": 1, "use_bias": False}],
    "loss": "squared_error",
    "record": {"every": {"steps": 1}, "layers": False},
    "train": {"steps": 3},
}


def edge(**keys):
    return {"phenomena": [{"type": "edge_of_stability", "iterations": 30} | keys]}


@pytest.fixture(autouse=True)
def lenient_promotion():
    """Not as strict as conftest.py: optax's Adam raises a float to an int32 power; here shapes broadcast."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def recorded(tree):
    """The experiment, the table `curvature` and the state after the last chunk."""
    experiment = experiment_of(tree)
    chunks = list(train(experiment))
    return experiment, tables_of(chunks)["curvature"], jax.tree.map(np.asarray, chunks[-1].state())


@jax.jit
def gradient_and_hessian(params, inputs, targets):
    """Of the net's loss and penalty, `[P]` and `[P, P]`, by jax.hessian."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def loss(weights):
        first, second = unravel(weights).values()
        outputs = jnp.tanh(inputs @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
        kernels = (first["kernel"] ** 2).sum() + (second["kernel"] ** 2).sum()
        return -jax.nn.log_softmax(outputs)[jnp.arange(len(targets)), targets].mean() + 0.05 * kernels

    return jax.grad(loss)(flat), jax.hessian(loss)(flat)


def dense_hessian(experiment, params, examples=None):
    """The same of the first training examples."""
    part = experiment.data.train
    found = gradient_and_hessian(params, part.inputs[:examples], part.targets[:examples])
    return [np.asarray(array, np.float64) for array in found]


def at(table, step):
    return table["eigenvalue"][table["step"] == step]


def test_the_greatest_eigenvalues_of_a_net_are_those_of_its_whole_hessian():
    tree = NET | {"optimizer": {"type": "sgd", "learning_rate": 0.3}}
    experiment, table, state = recorded(tree | edge(eigenvalues=5))
    for step, params in ((0, experiment.model.init(0)[0]), (8, state.params)):
        _, hessian = dense_hessian(experiment, params)
        np.testing.assert_allclose(at(table, step), np.linalg.eigvalsh(hessian)[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(table["threshold"], 2 / 0.3, rtol=1e-6)


def test_adam_scales_the_hessian_by_what_its_next_step_divides_by():
    data = NET["data"] | {"batch_size": "full"}
    tree = NET | {"data": data, "optimizer": {"type": "adam", "learning_rate": 0.05, "b2": 0.9}}
    experiment, table, state = recorded(tree | edge(eigenvalues=3))
    gradient, hessian = dense_hessian(experiment, state.params)
    squares, _ = jax.flatten_util.ravel_pytree(state.optimizer_state.nu)
    squares = (0.9 * squares + 0.1 * gradient**2) / (1 - 0.9**9)
    root = (np.sqrt(squares) + 1e-8) ** -0.5
    expected = np.linalg.eigvalsh(root[:, None] * hessian * root)[::-1][:3]
    np.testing.assert_allclose(at(table, 8), expected, rtol=1e-4)
    np.testing.assert_allclose(table["threshold"], 38 / 0.05, rtol=1e-5)


def test_without_the_preconditioner_there_is_no_threshold():
    """And the slice is the first examples."""
    tree = NET | {"optimizer": {"type": "adam", "learning_rate": 0.05}}
    experiment, table, state = recorded(tree | edge(preconditioned=False, examples=5))
    _, hessian = dense_hessian(experiment, state.params, 5)
    np.testing.assert_allclose(at(table, 8), np.linalg.eigvalsh(hessian)[-1:], rtol=1e-4)
    assert np.isnan(table["threshold"]).all()


def test_a_ravine_has_the_curvature_that_it_is_made_of():
    """1 and 1 / condition, and a penalty of s w^2 / 2 adds s; the threshold is of the step's own rate."""
    rate = {"type": "cosine", "peak": 0.5, "floor": 0.2}
    tree = RAVINE | {"optimizer": {"type": "sgd", "learning_rate": rate}} | edge(eigenvalues=2)
    experiment = experiment_of(tree | {"regularizers": [{"type": "l2", "strength": 0.25}]})
    tables = tables_of(list(train(experiment)))
    found = tables["curvature"]["eigenvalue"].reshape(-1, 2)
    np.testing.assert_allclose(found, [[1.25, 0.35]] * 4, rtol=1e-5)
    thresholds = tables["curvature"]["threshold"].reshape(-1, 2)[:, 0]
    np.testing.assert_allclose(thresholds, 2 / tables["metrics"]["learning_rate"], rtol=1e-6)
    assert len(set(thresholds)) == 4


def test_layers_of_their_own_rates_and_frozen_ones():
    """A layer of half the rate counts half; a frozen one not at all."""
    two = [{"type": "dense", "units": 1, "use_bias": False, "kernel_init": {"type": "constant", "value": v}}
           for v in (1.0, 2.0)]  # fmt: skip
    groups = [{"layers": "dense_1", "learning_rate": 0.05}]
    for chosen, rates in ((groups, (0.5, 1.0)), ([{"layers": "dense_1", "frozen": True}], (0.0, 1.0))):
        tree = RAVINE | {"model": two, "optimizer": {"type": "sgd", "learning_rate": 0.1, "groups": chosen}}
        experiment, table, _ = recorded(tree | edge())
        part = experiment.data.train
        inputs, targets = np.asarray(part.inputs), np.asarray(part.targets)

        def loss(w, inputs=inputs, targets=targets):
            return ((inputs @ w[:2] * w[2] - targets.ravel()) ** 2).mean()

        hessian = np.asarray(jax.jit(jax.hessian(loss))(jnp.array([1.0, 1.0, 2.0])))
        root = np.sqrt([rates[0], rates[0], rates[1]])
        expected = np.linalg.eigvalsh(root[:, None] * hessian * root)[-1:]
        np.testing.assert_allclose(at(table, 0), expected, rtol=1e-4)
        np.testing.assert_allclose(table["threshold"], 20.0, rtol=1e-6)


@pytest.mark.parametrize(("size", "iterations", "exact"), [(1, 20, 1), (3, 20, 3), (30, 30, 5), (200, 60, 1)])
def test_lanczos_finds_the_greatest_eigenvalues_of_any_symmetric_matrix(size, iterations, exact):
    random = np.random.default_rng(size).standard_normal((size, size)).astype(np.float32)
    matrix = (random + random.T) / 2
    found = greatest_eigenvalues(lambda v: matrix @ v, size, 5, iterations, jax.random.key(0))
    expected = np.linalg.eigvalsh(matrix.astype(np.float64))[::-1]
    np.testing.assert_allclose(found[:exact], expected[:exact], rtol=1e-4)
    assert np.isnan(found[size:]).all()


@pytest.mark.parametrize("eigenvalues", [[5, 5, 2, 2, 0, 0], [-1] * 6, [0] * 6, [3, 0, 0, 0, 0, -7]])
def test_lanczos_goes_on_where_its_vectors_span_an_invariant_subspace(eigenvalues):
    diagonal = jnp.array(eigenvalues, jnp.float32)
    found = greatest_eigenvalues(lambda v: diagonal * v, 6, 6, 6, jax.random.key(0))
    np.testing.assert_allclose(found, eigenvalues, atol=1e-5)
