"""Optimizers step by step against PyTorch (RMSProp against NumPy), and schedules in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.schema import resolve
from nnlab.experiment import bind
from nnlab.registry import build, components
from nnlab.steps import Arguments, Layout, Resident, State, Steps

STEPS = 50
RATE = 0.005
COSINE = {"type": "cosine", "peak": RATE, "floor": 0.1}
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((32, 5)).astype(np.float32)
Y = RANDOM.standard_normal((32, 2)).astype(np.float32)
START = {
    "hidden": (0.5 * RANDOM.standard_normal((5, 8))).astype(np.float32),
    "bias": (0.1 * RANDOM.standard_normal(8)).astype(np.float32),
    "out": (0.5 * RANDOM.standard_normal((8, 2))).astype(np.float32),
}

# optimizer -> [(its arguments, PyTorch's name, PyTorch's arguments)]
CASES = {
    "sgd": [
        ({}, "SGD", {}),
        ({"momentum": 0.9}, "SGD", {"momentum": 0.9}),
        ({"momentum": 0.9, "nesterov": True}, "SGD", {"momentum": 0.9, "nesterov": True}),
    ],
    "adam": [
        ({}, "Adam", {}),
        ({"b1": 0.8, "b2": 0.98, "epsilon": 1e-3}, "Adam", {"betas": (0.8, 0.98), "eps": 1e-3}),
    ],
    "adamw": [
        ({}, "AdamW", {}),
        (
            {"b2": 0.98, "weight_decay": 1.0},
            "AdamW",
            {"betas": (0.9, 0.98), "weight_decay": 1.0},
        ),
    ],
    "rmsprop": [({}, None, {}), ({"decay": 0.5, "epsilon": 1e-2}, None, {})],
    "grokfast": [  # PyTorch's gets the gradient that `amplified` makes
        ({"optimizer": {"type": "adamw"}}, "AdamW", {}),
        (
            {"optimizer": {"type": "sgd", "momentum": 0.9}, "amplification": 0.7, "momentum": 0.8},
            "SGD",
            {"momentum": 0.9},
        ),
        ({"optimizer": {"type": "adam"}, "amplification": 0.0}, "Adam", {}),
    ],
}
ALL = [
    pytest.param(name, *case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]


def built(kind, config):
    problems = []
    resolved = resolve(kind, config, (), problems)
    assert problems == []
    return build(kind, resolved)


def loss(params, x, y):
    hidden = jnp.tanh(x @ params["hidden"] + jnp.broadcast_to(params["bias"], (len(x), 8)))
    return jnp.square(hidden @ params["out"] - y).mean()


def ours(name, arguments, rate):
    """The weights after each step, as training moves them."""
    rated = {"learning_rate": rate}
    if "optimizer" in arguments:  # the rate is the inner one's
        rated = {"optimizer": arguments["optimizer"] | rated}
    optimizer = built("optimizer", {"type": name, **arguments, **rated})
    direction = optimizer.direction()

    def step(carry, t):
        params, state = carry
        gradients = jax.grad(loss)(params, jnp.asarray(X), jnp.asarray(Y))
        towards, state = direction.update(gradients, state, params)
        eta = optimizer.learning_rate(t, STEPS)
        params = jax.tree.map(lambda w, d: w - eta * d, params, towards)
        return (params, state), params

    params = {key: jnp.asarray(value) for key, value in START.items()}
    run = jax.jit(lambda p: jax.lax.scan(step, (p, direction.init(p)), jnp.arange(STEPS))[1])
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        return {key: np.asarray(value) for key, value in run(params).items()}


def cosine_rate(step):
    return RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))


def amplified(gradients, amplification=2.0, momentum=0.98, **_):
    """Grokfast's exponential moving average, as a sum over all gradients so far."""
    powers = momentum ** np.arange(len(gradients))[::-1]
    weights = (1 - momentum) * powers
    weights[0] = powers[0]  # it starts at the first gradient
    return gradients[-1] + amplification * sum(w * g for w, g in zip(weights, gradients, strict=True))


def pytorch(torch, name, arguments, rate, grokfast=None):
    params = {key: torch.tensor(value, requires_grad=True) for key, value in START.items()}
    optimizer = getattr(torch.optim, name)(params.values(), lr=rate(0), **arguments)
    x, y = torch.tensor(X), torch.tensor(Y)
    seen, gradients = ({key: [] for key in params} for _ in range(2))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.zero_grad()
        out = torch.tanh(x @ params["hidden"] + params["bias"]) @ params["out"]
        ((out - y) ** 2).mean().backward()
        if grokfast is not None:
            for key, value in params.items():
                gradients[key].append(value.grad.clone())
                value.grad = amplified(gradients[key], **grokfast)
        optimizer.step()
        for key, value in params.items():
            seen[key].append(value.detach().numpy().copy())
    return {key: np.stack(values) for key, values in seen.items()}


def numpy_rmsprop(rate, decay=0.9, epsilon=1e-7):
    """Lecture 004's: s <- decay s + (1 - decay) g^2; w <- w - eta g / sqrt(s + epsilon); in float64."""
    params = {key: value.astype(np.float64) for key, value in START.items()}
    s = {key: np.zeros_like(value) for key, value in params.items()}
    seen = {key: [] for key in params}
    for step in range(STEPS):
        hidden = np.tanh(X @ params["hidden"] + params["bias"])
        error = 2 * (hidden @ params["out"] - Y) / Y.size
        back = error @ params["out"].T * (1 - hidden**2)
        gradients = {"hidden": X.T @ back, "bias": back.sum(0), "out": hidden.T @ error}
        for key, g in gradients.items():
            s[key] = decay * s[key] + (1 - decay) * g**2
            params[key] = params[key] - rate(step) * g / np.sqrt(s[key] + epsilon)
            seen[key].append(params[key])
    return {key: np.stack(values) for key, values in seen.items()}


@pytest.mark.parametrize("name", components("optimizer"))
def test_every_optimizer_is_compared_here(name):
    assert name in CASES, f"give the optimizer '{name}' a case in CASES"


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(("name", "arguments", "theirs", "their_arguments"), ALL)
def test_first_updates_equal_the_reference(name, arguments, theirs, their_arguments, schedule):
    rate = (lambda step: RATE) if schedule == "constant" else cosine_rate
    if theirs is None:
        expected = numpy_rmsprop(rate, **arguments)
    else:
        torch = pytest.importorskip("torch")
        filtered = arguments if name == "grokfast" else None
        expected = pytorch(torch, theirs, their_arguments, rate, filtered)
    found = ours(name, arguments, RATE if schedule == "constant" else COSINE)
    for key, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-5 * scale)
        moved = np.abs(values[-1] - START[key]).max()
        assert moved > 1e-3 * scale, "the comparison must be able to fail"


def test_momentum_is_lecture_four_s_form():
    """By hand, a constant gradient of 1: v = 1, 1.9, 2.71 at 0.9, ten times the average form in the end."""
    for nesterov, expected in ((False, [1.0, 1.9, 2.71]), (True, [1.9, 2.71, 3.439])):
        optimizer = built("optimizer", {"type": "sgd", "momentum": 0.9, "nesterov": nesterov})
        direction = optimizer.direction()
        weights = jnp.zeros(1)
        state, found = direction.init(weights), []
        for _ in expected:
            towards, state = direction.update(jnp.ones(1), state, weights)
            found.append(float(towards[0]))
        assert found == pytest.approx(expected)


def test_weight_decay_is_decoupled():
    """A weight without gradient decays by rate * weight_decay of itself a step, whatever Adam does."""
    optimizer = built("optimizer", {"type": "adamw", "weight_decay": 0.5})
    direction = optimizer.direction()
    weights = jnp.array([2.0, -4.0])
    with jax.numpy_dtype_promotion("standard"):
        towards, _ = direction.update(jnp.zeros(2), direction.init(weights), weights)
    np.testing.assert_allclose(towards, [1.0, -2.0])


@pytest.mark.parametrize(("name", "arguments", "theirs", "their_arguments"), ALL)
def test_slots_are_the_arrays_that_it_remembers(name, arguments, theirs, their_arguments):
    optimizer = built("optimizer", {"type": name, **arguments})
    state = jax.eval_shape(optimizer.direction().init, {"w": jnp.zeros((30, 40))})
    assert sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.size > 1) == 1200 * optimizer.slots


def rate_at(config, steps, total):
    schedule = built("schedule", config)
    return np.asarray([schedule(jnp.int32(step), total) for step in steps], np.float64)


def test_every_schedule_is_tested_here():
    assert set(components("schedule")) == {"constant", "cosine", "warmup"}


def test_constant_rate():
    np.testing.assert_allclose(rate_at(0.3, [0, 1, 1000], 10), 0.3, rtol=1e-7)
    np.testing.assert_allclose(rate_at({"type": "constant", "value": 2}, [0, 5], 10), 2.0)


@pytest.mark.parametrize(("floor", "length"), [(0.0, None), (0.1, None), (0.25, 40), (1.0, None)])
def test_cosine_in_closed_form(floor, length):
    total, peak = 100, 0.4
    steps = np.array([0, 1, 13, 40, 50, 99, 100, 150])
    found = rate_at({"type": "cosine", "peak": peak, "floor": floor, "steps": length}, steps, total)
    progress = np.minimum(steps / (length or total), 1.0)
    expected = peak * (floor + (1 - floor) * (1 + np.cos(np.pi * progress)) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert found[0] == pytest.approx(peak)
    assert found[-1] == pytest.approx(peak * floor, abs=1e-7)


def test_cosine_of_a_training_without_steps_is_finite():
    assert np.isfinite(rate_at({"type": "cosine", "peak": 0.4}, [0], 0)).all()


@pytest.mark.parametrize(("steps", "total"), [(10, 100), (1, 3), (50, 20)])
def test_warmup_rises_in_a_line_and_hands_over(steps, total):
    t = np.arange(total + 5)
    found = rate_at({"type": "warmup", "steps": steps, "then": 0.4}, t, total)
    np.testing.assert_allclose(found, 0.4 * np.minimum((t + 1) / (steps + 1), 1), rtol=1e-6)
    cosine = {"type": "cosine", "peak": 0.4, "floor": 0.1}
    found = rate_at({"type": "warmup", "steps": steps, "then": cosine}, t, total)
    rest = rate_at(cosine, np.maximum(t - steps, 0), max(1, total - steps))
    np.testing.assert_allclose(found, np.minimum((t + 1) / (steps + 1), 1) * rest, rtol=1e-6)


# --- regularizers ----------------------------------------------------------------------------------------


def test_every_regularizer_is_tested_here():
    assert set(components("regularizer")) == {"l2"}


def test_l2_is_half_the_squares_of_the_weights_proper():
    penalty = built("regularizer", {"type": "l2", "strength": 0.3})
    params = {key: jnp.asarray(value) for key, value in START.items()}
    squares = sum((START[key].astype(np.float64) ** 2).sum() for key in ("hidden", "out"))
    assert float(penalty(params)) == pytest.approx(0.15 * squares, rel=1e-6)
    slopes = jax.grad(penalty)(params)
    np.testing.assert_array_equal(slopes["bias"], np.zeros(8))
    np.testing.assert_allclose(slopes["out"], 0.3 * START["out"], rtol=1e-6)


@pytest.mark.parametrize(("name", "theirs"), [("sgd", "SGD"), ("adam", "Adam")])
def test_l2_in_training_equals_pytorch_s_weight_decay(name, theirs):
    """Through the step that training takes, regularizers and all."""
    torch = pytest.importorskip("torch")
    tree = {
        "name": "l2",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [{"type": "dense", "units": 3}],
        "regularizers": [{"type": "l2", "strength": 0.2}],
        "optimizer": {"type": name, "learning_rate": 0.05},
        "train": {"steps": STEPS},
    }
    task = bind(check_tree(Document(tree, {}, {}, "test")))
    assert task.numbers["regularizers[0].strength"] == 0.2
    params, _ = task.model.init(0)
    arguments = Arguments(np.uint32(0), task.numbers, params, Resident.of(task, Layout.of(task)))
    steps = Steps(task, arguments)
    state = State(params, {}, steps.optimizer.init(params), jnp.int32(0), jnp.array(True), None)
    with jax.numpy_dtype_promotion("standard"):
        take = jax.jit(lambda s: steps.take(s, steps.batch(jnp.empty(0, jnp.int32)))[0])
        for _ in range(STEPS):
            state = take(state)

    net = torch.nn.Linear(13, 3)
    net.weight.data = torch.tensor(np.asarray(params["dense_1"]["kernel"]).T.copy())
    net.bias.data.zero_()
    groups = [{"params": [net.weight], "weight_decay": 0.2}, {"params": [net.bias]}]
    optimizer = getattr(torch.optim, theirs)(groups, lr=0.05)
    x, y = torch.tensor(task.data.train.inputs), torch.tensor(task.data.train.targets).long()
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    found = state.params["dense_1"]
    np.testing.assert_allclose(found["kernel"].T, net.weight.detach(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["bias"], net.bias.detach(), rtol=1e-5, atol=1e-5)
