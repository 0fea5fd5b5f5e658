"""Learning-rate schedules in closed form, and 50 updates under each against PyTorch's schedulers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config.resolve import resolve
from nnlab.optim.schedules import Time
from nnlab.registry import build, components

STEPS, PER_EPOCH = 50, 5
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.standard_normal((16, 4)).astype(np.float32), RANDOM.standard_normal((16, 1)).astype(np.float32)
LOSSES = [3.0, 2.0, 1.5, 1.5, 1.6, 1.4, 1.7, 1.8, 1.5, 1.45, 1.9, 1.41, 1.39, 2.0, 2.0, 2.0, 2.0, 2.0]


def built(config):
    problems = []
    resolved = resolve("schedule", config, (), problems)
    assert problems == []
    return build("schedule", resolved)


def problems_of(config):
    problems = []
    resolve("schedule", config, (), problems)
    return [problem.message for problem in problems]


def rates(config, steps=range(STEPS), total=STEPS, losses=(), at=STEPS):
    """The rates at steps, after records of these losses, all at one step."""
    schedule = built(config)
    memory = schedule.init()
    for loss in losses:
        memory = schedule.update(memory, jnp.float32(loss), Time(jnp.int32(at), total, PER_EPOCH))
    found = jax.jit(jax.vmap(lambda step: schedule.rate(memory, Time(step, total, PER_EPOCH))))
    return np.asarray(found(jnp.array(list(steps), jnp.int32)), np.float64)


# schedule -> (config, PyTorch's scheduler, its arguments, PyTorch's first rate)
CASES = {
    "constant": (0.1, "ConstantLR", {"factor": 1.0}, 0.1),
    "piecewise": (
        {"type": "piecewise", "values": [0.1, 0.01, 0.001], "epochs": [3, 7]},
        "MultiStepLR",
        {"milestones": [15, 35], "gamma": 0.1},
        0.1,
    ),
    "exponential": (
        {"type": "exponential", "start": 0.1, "steps": 20},
        "ExponentialLR",
        {"gamma": 10 ** (-1 / 20)},
        0.1,
    ),
    "power": (
        {"type": "power", "start": 0.1, "epochs": 2, "exponent": 1.5},
        "LambdaLR",
        {"lr_lambda": lambda t: (1 + t / 10) ** -1.5},
        0.1,
    ),
    "cosine": (
        {"type": "cosine", "peak": 0.1, "floor": 0.1},
        "CosineAnnealingLR",
        {"T_max": STEPS, "eta_min": 0.01},
        0.1,
    ),
    "linear": (
        {"type": "linear", "start": 0.1, "floor": 0.2, "steps": 30},
        "LinearLR",
        {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 30},
        0.1,
    ),
    "polynomial": (
        {"type": "polynomial", "start": 0.1, "exponent": 2.5},
        "PolynomialLR",
        {"total_iters": STEPS, "power": 2.5},
        0.1,
    ),
    "inverse_square_root": (
        {"type": "inverse_square_root", "start": 0.1, "epochs": 1.4},
        "LambdaLR",
        {"lr_lambda": lambda t: (1 + t // 7) ** -0.5},
        0.1,
    ),
    "triangular": (
        {"type": "triangular", "low": 0.01, "high": 0.1, "steps": 18, "shrink": 0.5},
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 9,
            "mode": "triangular2",
            "cycle_momentum": False,
        },
        0.01,
    ),
    "cosine_restarts": (
        {"type": "cosine_restarts", "peak": 0.1, "floor": 0.1, "steps": 7, "growth": 2},
        "CosineAnnealingWarmRestarts",
        {"T_0": 7, "T_mult": 2, "eta_min": 0.01},
        0.1,
    ),
    "one_cycle": (
        {"type": "one_cycle", "peak": 0.1},
        "OneCycleLR",
        {
            "max_lr": 0.1,
            "total_steps": STEPS,
            "pct_start": 0.45,
            "anneal_strategy": "linear",
            "cycle_momentum": False,
            "div_factor": 10,
            "final_div_factor": 1000,
            "three_phase": True,
        },
        0.1,
    ),
    "warmup": (
        {"type": "warmup", "steps": 9, "then": 0.1},
        "LinearLR",
        {"start_factor": 0.1, "total_iters": 9},
        0.1,
    ),
    "range_test": (
        {"type": "range_test", "low": 1e-4, "high": 0.1},
        "ExponentialLR",
        {"gamma": 1000 ** (1 / 49)},
        1e-4,
    ),
    "performance": (
        {"type": "performance", "start": 0.1, "factor": 0.3, "patience": 3, "minimum": 0.005},
        "ReduceLROnPlateau",
        {"factor": 0.3, "patience": 2, "threshold": 0.0, "min_lr": 0.005, "eps": 0.0},
        0.1,
    ),
}


@pytest.mark.parametrize("name", components("schedule"))
def test_every_schedule_is_compared_here(name):
    assert name in CASES, f"give the schedule '{name}' a case in CASES"


@pytest.mark.parametrize("name", CASES)
def test_first_updates_equal_pytorch_s(name):
    """Least squares by gradient descent; a schedule that watches the loss sees a given one at each step."""
    torch = pytest.importorskip("torch")
    config, scheduler, arguments, first = CASES[name]
    watched = [LOSSES[step % len(LOSSES)] for step in range(STEPS)]
    weights = torch.zeros(4, 1, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=first)
    theirs = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **arguments)
    schedule = built(config)
    memory, ours, expected, found = schedule.init(), jnp.zeros((4, 1)), [], []
    rate = jax.jit(lambda memory, step: schedule.rate(memory, Time(step, STEPS, PER_EPOCH)))
    for step in range(STEPS):
        if scheduler == "ReduceLROnPlateau":  # both look at the loss before the step
            theirs.step(watched[step])
        now = Time(jnp.int32(step), STEPS, PER_EPOCH)
        memory = schedule.update(memory, jnp.float32(watched[step]), now)
        optimizer.zero_grad()
        ((torch.tensor(X) @ weights - torch.tensor(Y)) ** 2).mean().backward()
        optimizer.step()
        if scheduler != "ReduceLROnPlateau":
            theirs.step() if step < STEPS - 1 else None
        eta = rate(memory, jnp.int32(step))
        ours = ours - eta * jax.grad(lambda w: jnp.square(X @ w - Y).mean())(ours)
        expected.append(weights.detach().numpy().copy())
        found.append(np.asarray(ours))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.abs(expected[-1]).max() > 1e-3, "the comparison must be able to fail"


def test_constant_rate():
    np.testing.assert_allclose(rates(0.3, [0, 1, 1000]), 0.3, rtol=1e-7)
    np.testing.assert_allclose(rates({"type": "constant", "value": 2}, [0, 5]), 2.0)


def test_piecewise_changes_at_its_boundaries():
    """Lecture 004: 0.1, then 0.001 after 50 epochs."""
    config = {"type": "piecewise", "values": [0.1, 0.001], "epochs": [50]}
    found = rates(config, [0, 249, 250, 400], 500)
    np.testing.assert_allclose(found, [0.1, 0.1, 0.001, 0.001], rtol=1e-6)


def test_lengths_that_are_not_given_go_by_the_training():
    t = np.array([0, 10, 25, 49])
    np.testing.assert_allclose(rates({"type": "exponential", "start": 1.0}, t), 10 ** (-t / 50), rtol=1e-5)
    np.testing.assert_allclose(rates({"type": "power", "start": 1.0}, t), 1 / (1 + t / 50), rtol=1e-5)
    thirds = rates({"type": "piecewise", "values": [3, 2, 1]}, [0, 16, 17, 33, 34, 49])
    assert thirds.tolist() == [3, 3, 2, 2, 1, 1]
    np.testing.assert_allclose(rates("warmup", [0, 4, 5, 30]), [1e-3 / 6, 5e-3 / 6, 1e-3, 1e-3], rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "r"), [({"steps": 20}, 20), ({"epochs": 20}, 100), ({"epochs": 0.5}, 2.5)]
)
def test_exponential_and_power_in_closed_form(length, r):
    """Lecture 004: a tenth after r steps; a half after r, a third after 2 r."""
    t = np.array([0, 1, 7, 20, 100, 300])
    found = rates({"type": "exponential", "start": 0.01, **length}, t)
    np.testing.assert_allclose(found, 0.01 * 10.0 ** (-t / r), rtol=1e-4, atol=1e-12)
    found = rates({"type": "power", "start": 0.01, **length}, t)
    np.testing.assert_allclose(found, 0.01 / (1 + t / r), rtol=1e-5)


@pytest.mark.parametrize(
    ("floor", "length"), [(0.0, {}), (0.1, {}), (0.25, {"steps": 40}), (1.0, {"epochs": 8})]
)
def test_cosine_in_closed_form(floor, length):
    total, peak = 100, 0.4
    steps = np.array([0, 1, 13, 40, 50, 99, 100, 150])
    found = rates({"type": "cosine", "peak": peak, "floor": floor, **length}, steps, total)
    progress = np.minimum(steps / (40 if length else total), 1.0)
    expected = peak * (floor + (1 - floor) * (1 + np.cos(np.pi * progress)) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert found[0] == pytest.approx(peak)
    assert found[-1] == pytest.approx(peak * floor, abs=1e-7)


def test_cycles_by_hand():
    """Two triangles of four steps, the second half as high; restarts after 4 and again after 8 steps."""
    found = rates({"type": "triangular", "low": 1, "high": 3, "steps": 4, "shrink": 0.5}, range(9), 9)
    np.testing.assert_allclose(found, [1, 2, 3, 2, 1, 1.5, 2, 1.5, 1], rtol=1e-6)
    found = rates({"type": "cosine_restarts", "peak": 2, "steps": 4, "growth": 2}, [0, 2, 4, 8, 12, 13], 14)
    np.testing.assert_allclose(found, [2, 1, 2, 1, 2, 1 + np.cos(np.pi / 16)], rtol=1e-6)
    found = rates({"type": "cosine_restarts", "peak": 2, "steps": 4}, [0, 2, 4, 6, 400], 500)
    np.testing.assert_allclose(found, [2, 1, 2, 1, 2], rtol=1e-6)


def test_a_fall_in_closed_form():
    """The middle of a fall to a tenth, and what lies beyond it; a stair of tens."""
    for schedule, half in (({"type": "linear"}, 0.5), ({"type": "polynomial", "exponent": 3}, 0.125)):
        found = rates({"start": 2.0, "floor": 0.1, "steps": 20, **schedule}, [0, 10, 20, 30])
        np.testing.assert_allclose(found, [2, 2 * (0.1 + 0.9 * half), 0.2, 0.2], rtol=1e-6)
    found = rates({"type": "inverse_square_root", "start": 6.0, "steps": 10}, [0, 9, 10, 30, 89])
    np.testing.assert_allclose(found, [6, 6, 6 / np.sqrt(2), 3, 2], rtol=1e-6)


def test_a_training_without_steps_has_finite_rates():
    for _, (config, *_) in CASES.items():
        assert np.isfinite(rates(config, [0], 0)).all()


@pytest.mark.parametrize(("steps", "total"), [(10, 100), (1, 3), (50, 20)])
def test_warmup_rises_in_a_line_and_hands_over(steps, total):
    t = np.arange(total + 5)
    found = rates({"type": "warmup", "steps": steps, "then": 0.4}, t, total)
    np.testing.assert_allclose(found, 0.4 * np.minimum((t + 1) / (steps + 1), 1), rtol=1e-6)
    cosine = {"type": "cosine", "peak": 0.4, "floor": 0.1}
    found = rates({"type": "warmup", "steps": steps, "then": cosine}, t, total)
    rest = rates(cosine, np.maximum(t - steps, 0), max(1, total - steps))
    np.testing.assert_allclose(found, np.minimum((t + 1) / (steps + 1), 1) * rest, rtol=1e-6)


def test_warmup_in_epochs_and_over_what_watches_the_loss():
    then = {"type": "performance", "start": 0.4, "patience": 1}
    config = {"type": "warmup", "epochs": 2, "then": then}
    t = np.arange(20)
    rising = np.minimum((t + 1) / 11, 1)
    np.testing.assert_allclose(rates(config, t), 0.4 * rising, rtol=1e-6)
    np.testing.assert_allclose(rates(config, t, losses=[1.0, 1.0, 1.0]), 0.1 * rising, rtol=1e-6)
    # it runs from its beginning when the warm-up is over: what was recorded before does not count
    np.testing.assert_allclose(rates(config, t, losses=[1.0, 1.0, 1.0], at=9), 0.4 * rising, rtol=1e-6)


def test_one_cycle_by_its_corners():
    """1,001 steps: a tenth of the peak, the peak, a tenth, a ten-thousandth; straight lines between."""
    found = rates({"type": "one_cycle", "peak": 0.05}, range(1001), 1001)
    assert found[0] == pytest.approx(0.005)
    assert found.max() == pytest.approx(0.05, rel=1e-3)
    assert np.argmax(found) in (449, 450)
    assert found[899] == pytest.approx(0.005, rel=1e-2)
    assert found[-1] == pytest.approx(5e-6, rel=1e-3)
    bends = np.flatnonzero(np.abs(np.diff(found, 2)) > 1e-6)
    assert len(bends) <= 4, "three straight lines"


def test_performance_by_hand():
    """Patience 2: the loss falls, then does not fall for two records, twice."""
    config = {"type": "performance", "start": 1.0, "factor": 0.5, "patience": 2}
    losses = [3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 1.0, 1.5]
    found = [rates(config, [0], losses=losses[: n + 1])[0] for n in range(len(losses))]
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_range_test_from_low_to_high():
    found = rates({"type": "range_test", "low": 1e-5, "high": 1.0}, range(101), 101)
    np.testing.assert_allclose(found[[0, 20, 100]], [1e-5, 1e-4, 1.0], rtol=1e-4)
    assert rates({"type": "range_test", "low": 1e-5, "high": 1.0}, [101], 101)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "piecewise", "values": [0.1], "epochs": [5]}, "1 boundaries need 2 values"),
        ({"type": "piecewise", "values": [0.1, 0.2, 0.3], "steps": [5, 5]}, "boundaries must ascend"),
        ({"type": "piecewise", "values": []}, "0 boundaries need 1 values"),
        (
            {"type": "exponential", "start": 0.1, "steps": 2, "epochs": 2.0},
            "give one of 'steps' and 'epochs'",
        ),
        ({"type": "range_test", "low": 1.0, "high": 0.5}, "low 1 must lie below high 0.5"),
        ({"type": "cosine", "peak": 0.1, "steps": 3, "epochs": 1}, "give one of 'steps' and 'epochs'"),
    ],
)
def test_what_does_not_fit_is_refused(config, message):
    assert message in problems_of(config)[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"type": "warmup", "steps": 50}, "the warm-up takes 50 steps and never ends"),
        ({"type": "warmup", "epochs": 6}, "the warm-up takes 60 steps and never ends"),
        ({"type": "warmup", "steps": 49}, ""),
        ({"type": "warmup", "then": {"type": "cosine", "peak": 1.0, "steps": 46}}, "the cosine falls for 46"),
        ({"type": "warmup", "then": {"type": "cosine", "peak": 1.0, "steps": 45}}, ""),
        ({"type": "cosine", "peak": 1.0, "epochs": 5.5}, "the cosine falls for 55 steps"),
        ({"type": "cosine", "peak": 1.0}, ""),
        ({"type": "piecewise", "values": [1, 2, 3], "epochs": [2, 5]}, "the boundary at 5 epochs is beyond"),
        ({"type": "piecewise", "values": [1, 2, 3], "steps": [20, 49]}, ""),
        ({"type": "piecewise", "values": [1, 2, 3]}, ""),
        (0.1, ""),
    ],
)
def test_what_a_training_of_50_steps_of_10_an_epoch_does_not_reach(config, said):
    problems = []
    schedule = build("schedule", resolve("schedule", config, (), problems))
    assert problems == []
    found = schedule.unreached(50, 10)
    assert found.startswith(said)
    assert bool(found) is bool(said)
