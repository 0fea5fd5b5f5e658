"""Regularizers against closed forms, steps by hand and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.resolve import resolve
from nnlab.registry import build, components
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train

STEPS = 50
RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "hidden": RANDOM.standard_normal((5, 8)).astype(np.float32),
    "bias": RANDOM.standard_normal(8).astype(np.float32),
    "out": {
        "kernel": RANDOM.standard_normal((2, 8, 2)).astype(np.float32),
        "scale": np.ones(2, np.float32),
    },
}
WEIGHTS["hidden"][1, :3] = 0.0

# regularizer -> (strength, its value and its slope for one weight)
FORMULAS = {
    "l1": lambda strength, w: (strength * np.abs(w), strength * np.sign(w)),
    "l2": lambda strength, w: (strength / 2 * w**2, strength * w),
}


def built(config):
    problems = []
    resolved = resolve("regularizer", config, (), problems)
    assert problems == []
    return build("regularizer", resolved)


@pytest.mark.parametrize("name", components("regularizer"))
def test_every_regularizer_has_its_formula_here(name):
    assert name in FORMULAS, f"give the regularizer '{name}' its closed form in FORMULAS"


@pytest.mark.parametrize("strength", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_penalty_is_the_sum_over_the_weights_proper(name, strength):
    penalty = built({"type": name, "strength": strength})
    value, slopes = jax.value_and_grad(penalty)(jax.tree.map(jnp.asarray, WEIGHTS))
    kernels = [WEIGHTS["hidden"], WEIGHTS["out"]["kernel"]]
    parts = [FORMULAS[name](strength, kernel.astype(np.float64)) for kernel in kernels]
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(sum(part.sum() for part, _ in parts), rel=1e-6)
    np.testing.assert_allclose(slopes["hidden"], parts[0][1], rtol=1e-6)
    np.testing.assert_allclose(slopes["out"]["kernel"], parts[1][1], rtol=1e-6)
    np.testing.assert_array_equal(slopes["hidden"][1, :3], np.zeros(3))
    np.testing.assert_array_equal(slopes["bias"], np.zeros(8))
    np.testing.assert_array_equal(slopes["out"]["scale"], np.zeros(2))


@pytest.mark.parametrize("name", FORMULAS)
def test_without_weights_proper_there_is_nothing_to_pay(name):
    assert float(built(name)({"bias": jnp.ones(3)})) == 0.0


# --- in training -----------------------------------------------------------------------------------------


def trained(regularizers, optimizer, steps):
    """The task, its first weights and those after some steps of training."""
    tree = {
        "name": "penalized",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [{"type": "dense", "units": 3}],
        "regularizers": regularizers,
        "optimizer": optimizer,
        "train": {"steps": steps},
        "record": {"every": {"steps": steps}, "layers": False},
    }
    task = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    params, _ = task.model.init(0)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        *_, state = (chunk.state() for chunk in train(task))
    return task, params["dense_1"], jax.device_get(state.params)["dense_1"]


def logistic_gradients(task, w):
    """Of the mean cross-entropy of a dense layer with zero biases, by its kernel and bias, in float64."""
    x, y = task.data.train.inputs.astype(np.float64), task.data.train.targets
    p = np.exp(x @ w)
    error = (p / p.sum(1, keepdims=True) - np.eye(3)[y]) / len(x)
    return x.T @ error, error.sum(0)


ELASTIC_NET = [{"type": "l1", "strength": 0.4}, {"type": "l2", "strength": 0.2}]


@pytest.mark.parametrize("regularizers", [ELASTIC_NET[:1], ELASTIC_NET[1:], ELASTIC_NET], ids=str)
def test_one_step_by_hand(regularizers):
    """w <- w - rate (gradient of the loss + slope of each penalty); biases without."""
    task, start, found = trained(regularizers, {"type": "sgd", "learning_rate": 0.5}, 1)
    assert not start["bias"].any()
    w = start["kernel"].astype(np.float64)
    by_kernel, by_bias = logistic_gradients(task, w)
    pulls = [FORMULAS[one["type"]](one["strength"], w)[1] for one in regularizers]
    np.testing.assert_allclose(found["kernel"], w - 0.5 * (by_kernel + sum(pulls)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["bias"], -0.5 * by_bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "theirs"), [("sgd", "SGD"), ("adam", "Adam")])
def test_l2_in_training_equals_pytorch_s_weight_decay(name, theirs):
    torch = pytest.importorskip("torch")
    penalty, optimizer = {"type": "l2", "strength": 0.2}, {"type": name, "learning_rate": 0.05}
    task, start, found = trained([penalty], optimizer, STEPS)
    assert task.traced_values["regularizers[0].strength"] == 0.2

    net = torch.nn.Linear(13, 3)
    net.weight.data = torch.tensor(start["kernel"].T.copy())
    net.bias.data.zero_()
    groups = [{"params": [net.weight], "weight_decay": 0.2}, {"params": [net.bias]}]
    optimizer = getattr(torch.optim, theirs)(groups, lr=0.05)
    x, y = torch.tensor(task.data.train.inputs), torch.tensor(task.data.train.targets).long()
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    np.testing.assert_allclose(found["kernel"].T, net.weight.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["bias"], net.bias.detach(), rtol=1e-5, atol=1e-5)


def test_l1_brings_useless_weights_to_zero_and_l2_does_not():
    """There they swing: a step moves them by up to rate * (strength + a gradient below strength)."""
    optimizer = {"type": "sgd", "learning_rate": 0.01}
    zeros = {}
    for name in ("l1", "l2"):
        _, start, found = trained([{"type": name, "strength": 0.1}], optimizer, 2000)
        before, zeros[name] = ((np.abs(w["kernel"]) < 2 * 0.01 * 0.1).sum() for w in (start, found))
        assert before < 2
    assert zeros["l1"] > found["kernel"].size / 2
    assert zeros["l2"] < 2
