"""Optimizers step by step against PyTorch, or NumPy where that differs; clipping; groups of layers."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.resolve import resolve
from nnlab.errors import ConfigError
from nnlab.optim.schedules import Time
from nnlab.registry import build, components
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train

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
        ({"momentum": 0.9, "form": "average"}, None, {}),
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
    "adagrad": [
        ({"initial": 0.1, "epsilon": 1e-12}, "Adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-12}),
        ({}, None, {}),
    ],
    "rmsprop": [
        ({"decay": 0.99, "epsilon": 1e-20}, "RMSprop", {"alpha": 0.99, "eps": 1e-10}),
        ({}, None, {}),
        ({"decay": 0.5, "epsilon": 1e-2}, None, {}),
    ],
    "adamax": [({}, "Adamax", {}), ({"b1": 0.8, "b2": 0.9}, "Adamax", {"betas": (0.8, 0.9)})],
    "nadam": [
        ({}, "NAdam", {"momentum_decay": 1e6}),  # so that b1 is constant
        ({"b1": 0.8, "b2": 0.98}, "NAdam", {"betas": (0.8, 0.98), "momentum_decay": 1e6}),
    ],
    "radam": [  # the factor of the default b2 loses digits in float32 where it first counts
        ({"b2": 0.95}, "RAdam", {"betas": (0.9, 0.95)}),
        ({"b1": 0.8, "b2": 0.9}, "RAdam", {"betas": (0.8, 0.9)}),
    ],
    "adadelta": [  # large, so that it moves at all at this rate
        ({"epsilon": 0.1}, "Adadelta", {"eps": 0.1}),
        ({"decay": 0.5, "epsilon": 1.0}, "Adadelta", {"rho": 0.5, "eps": 1.0}),
    ],
    "lamb": [({}, None, {}), ({"b1": 0.8, "b2": 0.9, "weight_decay": 0.5}, None, {})],
    "muon": [({}, None, {}), ({"momentum": 0.8, "weight_decay": 0.5}, None, {})],
    "lion": [({}, None, {}), ({"b1": 0.8, "b2": 0.7, "weight_decay": 0.5}, None, {})],
    "sam": [  # PyTorch's gets the gradient from where the loss is greater
        ({"optimizer": {"type": "sgd", "momentum": 0.9}}, "SGD", {"momentum": 0.9}),
        ({"optimizer": {"type": "adam"}, "radius": 0.5}, "Adam", {}),
    ],
    "moving_average": [({"optimizer": {"type": "adam"}}, "Adam", {})],  # it steps as the other does
    "schedule_free": [
        ({"optimizer": {"type": "sgd"}}, None, {}),
        ({"optimizer": {"type": "adam", "b1": 0.0}, "momentum": 0.5}, None, {}),
    ],
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

    def step(carry, t):
        params, state = carry
        gradients = jax.grad(loss)(params, jnp.asarray(X), jnp.asarray(Y))
        if optimizer.ascent is not None:
            gradients = jax.grad(loss)(optimizer.ascent(params, gradients), jnp.asarray(X), jnp.asarray(Y))
        time = Time(t, STEPS, STEPS)
        towards, state = optimizer.direction(gradients, state, params, [()], time)
        eta = optimizer.learning_rate.rate((), time)
        params = jax.tree.map(lambda w, d: w - eta * d, params, towards)
        return (params, state), params

    params = {key: jnp.asarray(value) for key, value in START.items()}
    run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), jnp.arange(STEPS))[1])
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


def pytorch(torch, name, arguments, rate, grokfast=None, sam=None):
    params = {key: torch.tensor(value, requires_grad=True) for key, value in START.items()}
    optimizer = getattr(torch.optim, name)(params.values(), lr=rate(0), **arguments)
    x, y = torch.tensor(X), torch.tensor(Y)
    seen, gradients = ({key: [] for key in params} for _ in range(2))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate(step)

        def gradients_of(at):
            out = torch.tanh(x @ at["hidden"] + at["bias"]) @ at["out"]
            return dict(zip(at, torch.autograd.grad(((out - y) ** 2).mean(), at.values()), strict=True))

        found = gradients_of(params)
        if sam is not None:
            length = torch.cat([g.ravel() for g in found.values()]).norm()
            found = gradients_of(
                {key: w + sam.get("radius", 0.05) * found[key] / length for key, w in params.items()}
            )
        for key, value in params.items():
            value.grad = found[key]
        if grokfast is not None:
            for key, value in params.items():
                gradients[key].append(value.grad.clone())
                value.grad = amplified(gradients[key], **grokfast)
        optimizer.step()
        for key, value in params.items():
            seen[key].append(value.detach().numpy().copy())
    return {key: np.stack(values) for key, values in seen.items()}


def numpy_rmsprop(w, g, memory, eta, decay=0.9, epsilon=1e-7):
    """Lecture 004's: s <- decay s + (1 - decay) g^2."""
    memory["s"] = decay * memory.get("s", 0.0) + (1 - decay) * g**2
    return w - eta * g / np.sqrt(memory["s"] + epsilon)


def numpy_adagrad(w, g, memory, eta, epsilon=1e-7):
    """Lecture 004's, divided by the root where that multiplies."""
    memory["s"] = memory.get("s", 0.0) + g**2
    return w - eta * g / np.sqrt(memory["s"] + epsilon)


def numpy_lion(w, g, memory, eta, b1=0.9, b2=0.99, weight_decay=0.0):
    """Chen et al. 2023, algorithm 2."""
    m = memory.get("m", 0.0)
    memory["m"] = b2 * m + (1 - b2) * g
    return w - eta * (np.sign(b1 * m + (1 - b1) * g) + weight_decay * w)


def numpy_adam_direction(g, memory, b1, b2, epsilon, nesterov=False):
    """Kingma & Ba 2014, algorithm 1; Dozat 2016, algorithm 2."""
    memory["t"] = t = memory.get("t", 0) + 1
    memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
    memory["s"] = b2 * memory.get("s", 0.0) + (1 - b2) * g**2
    m = memory["m"] / (1 - b1**t)
    if nesterov:
        m = b1 * memory["m"] / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return m / (np.sqrt(memory["s"] / (1 - b2**t)) + epsilon)


def numpy_lamb(w, g, memory, eta, b1=0.9, b2=0.999, epsilon=1e-6, weight_decay=0.01):
    """You et al. 2020, algorithm 2."""
    direction = numpy_adam_direction(g, memory, b1, b2, epsilon) + weight_decay * w
    return w - eta * np.linalg.norm(w) / np.linalg.norm(direction) * direction


def numpy_muon(w, g, memory, eta, momentum=0.95, weight_decay=0.0):
    """Jordan et al. 2024: five steps of Newton and Schulz; a vector follows NAdam."""
    if g.ndim == 1:
        direction = numpy_adam_direction(g, memory, 0.9, 0.999, 1e-8, nesterov=True)
    else:
        memory["t"] = t = memory.get("t", 0) + 1
        memory["v"] = momentum * memory.get("v", 0.0) + (1 - momentum) * g
        ahead = momentum * memory["v"] / (1 - momentum ** (t + 1))
        x = ahead + (1 - momentum) * g / (1 - momentum**t)
        x /= np.linalg.norm(x)
        for _ in range(5):
            square = x.T @ x
            x = 3.4445 * x - 4.7750 * x @ square + 2.0315 * x @ square @ square
        direction = x * math.sqrt(max(1.0, g.shape[1] / g.shape[0]))
    return w - eta * (direction + weight_decay * w)


def numpy_sgd(w, g, memory, eta, momentum, form):
    """Lecture 002's average form, but for the rate, which that has inside the velocity."""
    memory["v"] = momentum * memory.get("v", 0.0) + (1 - momentum) * g
    return w - eta * memory["v"]


def numpy_schedule_free(w, g, memory, eta, optimizer, momentum=0.9):
    """Defazio et al. 2024, algorithm 1; the steps weighted by the square of the largest rate so far."""
    adam = optimizer["type"] == "adam"
    direction = numpy_adam_direction(g, memory, 0.0, 0.999, 1e-8) if adam else g
    memory["z"] = z = memory.get("z", w) - eta * direction
    memory["largest"] = max(memory.get("largest", 0.0), eta)
    memory["total"] = memory.get("total", 0.0) + memory["largest"] ** 2
    share = memory["largest"] ** 2 / memory["total"]
    memory["x"] = (1 - share) * memory.get("x", w) + share * z
    return (1 - momentum) * z + momentum * memory["x"]


def in_numpy(name, arguments, rate):
    """The weights after each step in float64, the gradient by hand."""
    move = globals()[f"numpy_{name}"]
    params = {key: value.astype(np.float64) for key, value in START.items()}
    memories, seen = ({key: kind() for key in params} for kind in (dict, list))
    for step in range(STEPS):
        hidden = np.tanh(X @ params["hidden"] + params["bias"])
        error = 2 * (hidden @ params["out"] - Y) / Y.size
        back = error @ params["out"].T * (1 - hidden**2)
        gradients = {"hidden": X.T @ back, "bias": back.sum(0), "out": hidden.T @ error}
        for key, g in gradients.items():
            params[key] = move(params[key], g, memories[key], rate(step), **arguments)
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
        expected = in_numpy(name, arguments, rate)
    else:
        torch = pytest.importorskip("torch")
        around = {name: arguments} if name in ("grokfast", "sam") else {}
        expected = pytorch(torch, theirs, their_arguments, rate, **around)
    found = ours(name, arguments, RATE if schedule == "constant" else COSINE)
    for key, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-5 * scale)
        moved = np.abs(values[-1] - START[key]).max()
        assert moved > 1e-3 * scale, "the comparison must be able to fail"


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_momentum_that_the_schedule_cycles_is_pytorch_s(nesterov):
    torch = pytest.importorskip("torch")
    schedule = {"type": "one_cycle", "peak": 10 * RATE, "momentum": [0.8, 0.95]}
    found = ours("sgd", {"nesterov": nesterov}, schedule)
    params = {key: torch.tensor(value, requires_grad=True) for key, value in START.items()}
    optimizer = torch.optim.SGD(params.values(), lr=RATE, momentum=0.95, nesterov=nesterov)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        10 * RATE,
        STEPS,
        pct_start=0.45,
        anneal_strategy="linear",
        base_momentum=0.8,
        max_momentum=0.95,
        div_factor=10,
        final_div_factor=1000,
        three_phase=True,
    )
    x, y = torch.tensor(X), torch.tensor(Y)
    for step in range(STEPS):
        optimizer.zero_grad()
        hidden = torch.tanh(x @ params["hidden"] + params["bias"])
        ((hidden @ params["out"] - y) ** 2).mean().backward()
        optimizer.step()
        cycle.step()
        for key, value in params.items():
            np.testing.assert_allclose(found[key][step], value.detach().numpy(), rtol=1e-5, atol=1e-5)
    constant = ours("sgd", {"momentum": 0.9, "nesterov": nesterov}, {"type": "one_cycle", "peak": 10 * RATE})
    assert np.abs(constant["hidden"][-1] - found["hidden"][-1]).max() > 1e-2


def test_a_cycled_momentum_in_the_average_form_by_hand():
    """A constant gradient of 1 gives an average of 1, whatever the momentum, from 1 - momentum on."""
    schedule = {"type": "one_cycle", "peak": 0.1, "momentum": [0.5, 0.9]}
    optimizer = built("optimizer", {"type": "sgd", "form": "average", "learning_rate": schedule})
    weights = {"layer": {"kernel": jnp.zeros(1)}}
    gradients = jax.tree.map(jnp.ones_like, weights)
    state, expected = optimizer.init(weights), 0.0
    for step in range(100):
        towards, state = optimizer.direction(gradients, state, weights, [()], Time(jnp.int32(step), 100, 100))
        momentum = np.interp(step, [0, 44, 88, 99], [0.9, 0.5, 0.9, 0.9])
        expected = momentum * expected + 1 - momentum
        assert float(towards["layer"]["kernel"][0]) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.999


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [
        ("{type: adam, learning_rate: CYCLE}", "only sgd takes"),
        ("{type: sgd, momentum: 0.9, learning_rate: CYCLE}", "leave it out"),
        ("{type: sgd, groups: [{layers: dense_1, learning_rate: CYCLE}]}", "that of all layers"),
        ("{type: sgd, learning_rate: {type: one_cycle, peak: 0.1, momentum: [0.9]}}", "[low, high]"),
        ("{type: schedule_free, optimizer: moving_average}", "one average is enough"),
        ("{type: moving_average, optimizer: schedule_free}", "one average is enough"),
    ],
)
def test_what_does_not_go_together_is_refused(optimizer, problem):
    cycle = "{type: one_cycle, peak: 0.1, momentum: [0.85, 0.95]}"
    tree = {
        "name": "refused",
        "data": {"type": "wine"},
        "model": [{"type": "dense", "units": 3}],
        "optimizer": yaml.safe_load(optimizer.replace("CYCLE", cycle)),
        "train": {"steps": 10},
    }
    with pytest.raises(ConfigError, match=re.escape(problem)):
        check_tree(Document(tree, {}, {}, "test"))


def test_momentum_is_lecture_four_s_form():
    """By hand, a constant gradient of 1: v = 1, 1.9, 2.71 at 0.9, ten times the average form in the end."""
    for nesterov, expected in ((False, [1.0, 1.9, 2.71]), (True, [1.9, 2.71, 3.439])):
        optimizer = built("optimizer", {"type": "sgd", "momentum": 0.9, "nesterov": nesterov})
        direction = optimizer.gradient_transform()
        weights = jnp.zeros(1)
        state, found = direction.init(weights), []
        for _ in expected:
            towards, state = direction.update(jnp.ones(1), state, weights)
            found.append(float(towards[0]))
        assert found == pytest.approx(expected)


def test_weight_decay_is_decoupled():
    """A weight without gradient decays by rate * weight_decay of itself a step, whatever Adam does."""
    optimizer = built("optimizer", {"type": "adamw", "weight_decay": 0.5})
    direction = optimizer.gradient_transform()
    weights = jnp.array([2.0, -4.0])
    with jax.numpy_dtype_promotion("standard"):
        towards, _ = direction.update(jnp.zeros(2), direction.init(weights), weights)
    np.testing.assert_allclose(towards, [1.0, -2.0])


@pytest.mark.parametrize(("name", "arguments", "theirs", "their_arguments"), ALL)
def test_slots_are_the_arrays_that_it_remembers(name, arguments, theirs, their_arguments):
    optimizer = built("optimizer", {"type": name, **arguments})
    state = jax.eval_shape(optimizer.gradient_transform().init, {"w": jnp.zeros((30, 40))})
    kept = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.size >= 1200)
    average = 1200 * (optimizer.average is not None)  # which is beside it in the training's state
    assert kept + average == 1200 * optimizer.slots


@pytest.mark.parametrize(
    ("how", "gradient", "expected"),
    [
        ({"value": 1}, [0.9, 100.0], [0.9, 1.0]),
        ({"norm": 1}, [0.9, 100.0], [0.00899964, 0.9999595]),
        ({"norm": 1}, [0.3, -0.4], [0.3, -0.4]),
        ({"value": 1}, [-3.0, 0.2], [-1.0, 0.2]),
        ({"norm": 1}, [0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_clipping_by_hand(how, gradient, expected):
    """Lecture 004's and Geron's example: by value the direction turns, by norm it is kept."""
    optimizer = built("optimizer", {"type": "sgd", "clip": how})
    direction = optimizer.gradient_transform()
    found, _ = direction.update(jnp.array(gradient), direction.init(jnp.zeros(2)), jnp.zeros(2))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if "norm" in how and any(gradient):
        cosine = found @ jnp.array(gradient) / (jnp.linalg.norm(found) * np.linalg.norm(gradient))
        assert float(cosine) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("how", "most"), [({"global_norm": 2.0}, 2.0), ({"norm": 2.0}, 2.0 * math.sqrt(2))])
def test_clipping_all_arrays_together_or_each_by_itself(how, most):
    torch = pytest.importorskip("torch")
    gradients = {"a": jnp.full(3, 7.0), "b": jnp.full((2, 2), -5.0)}
    direction = built("optimizer", {"type": "sgd", "clip": how}).gradient_transform()
    found, _ = direction.update(gradients, direction.init(gradients), gradients)
    length = math.sqrt(sum(float(jnp.square(g).sum()) for g in found.values()))
    assert length == pytest.approx(most, rel=1e-6)
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in gradients.values()]
    for weights, gradient in zip(theirs, gradients.values(), strict=True):
        weights.grad = torch.tensor(np.asarray(gradient))
    for some in [theirs] if "global_norm" in how else [[one] for one in theirs]:
        torch.nn.utils.clip_grad_norm_(some, 2.0)
    for ours_, weights in zip(found.values(), theirs, strict=True):
        np.testing.assert_allclose(ours_, weights.grad, rtol=1e-5)


# --- groups of layers ------------------------------------------------------------------------------------


def trained(groups, steps=12, **more):
    """The first and last weights of a small net, and the table of layers."""
    tree = {
        "name": "groups",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [
            {"type": "repeat", "times": 2, "layers": [{"type": "dense", "units": 6}, "batch_norm", "tanh"]},
            {"type": "dense", "units": 3},
        ],
        "optimizer": {
            key: value
            for key, value in ({"type": "sgd", "learning_rate": 0.1, "groups": groups} | more).items()
            if value is not None
        },
        "train": {"steps": steps},
        "record": {"every": {"steps": 1}},
    }
    experiment = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    with jax.numpy_dtype_promotion("standard"):
        chunks = list(train(experiment))
    first, first_state = experiment.model.init(0)
    state = chunks[-1].state()
    return (first, first_state), (state.params, state.layer_state)


def same(before, after, path):
    for name in path.split("/"):
        before, after = before[name], after[name]
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )


@pytest.mark.parametrize(
    "optimizer",
    [name for name, [(arguments, *_), *_] in CASES.items() if "optimizer" not in arguments],
)
def test_frozen_layers_keep_their_bits_whatever_the_optimizer(optimizer):
    (first, first_state), (last, last_state) = trained(
        [{"layers": "batch_norm_1", "frozen": True}, {"layers": ["dense_2", "dense_3"], "frozen": True}],
        type=optimizer,
        clip={"global_norm": 1.0},
    )
    for path in ("batch_norm_1", "dense_2", "dense_3"):
        assert same(first, last, path)
    assert same(first_state, last_state, "batch_norm_1")  # running averages too
    for path in ("dense_1", "batch_norm_2"):
        assert not same(first, last, path)
    assert not same(first_state, last_state, "batch_norm_2")


def test_decay_and_constraints_leave_frozen_layers_alone():
    tree = {
        "name": "frozen",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": {"type": "mlp", "width": 5, "depth": 1, "outputs": 3},
        "regularizers": ["l1", "l2"],
        "constraints": [{"type": "max_norm", "limit": 0.1}],
        "optimizer": {
            "type": "adamw",
            "weight_decay": 1.0,
            "groups": [{"layers": "dense_1", "frozen": True}],
        },
        "train": {"steps": 3},
    }
    experiment = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    with jax.numpy_dtype_promotion("standard"):
        *_, last = train(experiment)
    first, _ = experiment.model.init(0)
    assert same(first, last.state().params, "dense_1")
    kernel = np.asarray(last.state().params["dense_2"]["kernel"])
    assert np.linalg.norm(kernel, axis=0).max() <= 0.1


def test_sam_in_training_steps_by_another_gradient():
    """A radius of 0 changes nothing."""
    inner = {"type": "sgd", "learning_rate": 0.1}
    around = {"type": "sam", "optimizer": inner, "learning_rate": None}
    _, (plain, _) = trained([], steps=3)
    _, (still, _) = trained([], steps=3, **around, radius=0.0)
    _, (moved, _) = trained([], steps=3, **around, radius=0.5)
    for path in ("dense_1", "dense_3"):
        np.testing.assert_allclose(still[path]["kernel"], plain[path]["kernel"], rtol=1e-5, atol=1e-7)
        assert np.abs(moved[path]["kernel"] - plain[path]["kernel"]).max() > 1e-4


def test_a_group_s_rate_is_its_own_and_the_first_that_holds_a_layer_counts():
    """One step of plain gradient descent: what each layer moves goes with its rate."""
    rates = [{"layers": "dense_3", "learning_rate": 0.4}, {"layers": "*", "learning_rate": 0.05}]
    (first, _), (plain, _) = trained([], steps=1)
    _, (grouped, _) = trained(rates, steps=1)
    for path, factor in (("dense_3", 4.0), ("dense_1", 0.5)):
        moved = grouped[path]["kernel"] - first[path]["kernel"]
        expected = factor * (plain[path]["kernel"] - first[path]["kernel"])
        np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-7)


def test_a_group_s_schedule_thaws_it_later():
    later = {"type": "piecewise", "values": [0.0, 0.1], "steps": [5]}
    groups = [{"layers": "dense_1", "learning_rate": later}]
    for steps, still in ((5, True), (6, False)):
        (first, _), (last, _) = trained(groups, steps=steps)
        assert same(first, last, "dense_1") == still


def test_a_frozen_batch_norm_works_as_in_evaluation():
    """So that training and evaluation see one function, whatever its running averages are."""
    tree = {
        "name": "frozen",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [
            {"type": "dense", "units": 6},
            "batch_norm",
            {"type": "residual", "layers": [{"type": "dense", "units": 6}, {"type": "dropout", "rate": 0.5}]},
            {"type": "dense", "units": 3},
        ],
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
        "train": {"steps": 3},
        "record": {"every": {"steps": 1}},
        "phenomena": ["training_mode"],
    }
    gaps = {}
    for frozen in (["batch_norm_1", "residual_1"], []):
        groups = [{"layers": frozen, "frozen": True}] if frozen else []
        whole = tree | {"optimizer": tree["optimizer"] | {"groups": groups}}
        [chunk, *_] = train(build_experiment(check_tree(Document(whole, {}, {}, "test"))))
        batch, evaluated = chunk.tables["training_mode"]["batch_loss"], chunk.tables["metrics"]["train_loss"]
        gaps[bool(frozen)] = np.abs(batch[:3] - evaluated[:3]).max()
    assert gaps[True] < 1e-5
    assert gaps[False] > 0.05


def test_grokfast_takes_groups_itself():
    (first, _), (last, _) = trained(
        [{"layers": "dense_1", "frozen": True}], type="grokfast", learning_rate=None
    )
    assert same(first, last, "dense_1")
    assert not same(first, last, "dense_2")
    inner = {"type": "adam", "groups": [{"layers": "dense_1", "frozen": True}]}
    with pytest.raises(ConfigError, match="among grokfast's own keys"):
        trained([], type="grokfast", learning_rate=None, optimizer=inner)


def test_sam_is_not_around_another():
    with pytest.raises(ConfigError, match="optimizer: steps by the gradient of another place already"):
        trained([], type="sam", learning_rate=None, optimizer="sam")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"layers": "dense_9", "frozen": True}], "did you mean 'dense_1'"),
        ([{"layers": ["dense_1", "nothing_*"], "frozen": True}], "no layer with parameters is 'nothing_*'"),
        ([{"layers": "*", "frozen": True}], "freeze every layer"),
        ([{"layers": [], "frozen": True}], "name at least one layer"),
        ([{"layers": "dense_1"}], "give one of 'learning_rate' and 'frozen: true'"),
        ([{"layers": "dense_1", "frozen": True, "learning_rate": 0.1}], "give one of"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    with pytest.raises(ConfigError, match=message.replace("*", r"\*")):
        trained(groups)
