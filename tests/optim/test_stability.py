"""Thresholds of stability, against optimizers that walk down a parabola."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.registry import build, components

RATE, STEPS = 0.01, 200
SLOW = 0.999999  # an average of squares that stays as it is
CASES = {
    "sgd": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.5, "nesterov": True},
        {"momentum": 0.9, "form": "average"},
    ],
    "adam": [{"b2": SLOW}, {"b1": 0.5, "b2": SLOW}],
    "adamw": [{"b2": SLOW, "weight_decay": 20.0}],
    "nadam": [{"b2": SLOW}],
    "adamax": [{"b2": SLOW}],
    "rmsprop": [{"decay": SLOW}],
    "adagrad": [{}],
}
PARAMS = [pytest.param(name, keys, id=f"{name}-{keys}") for name, cases in CASES.items() for keys in cases]


def settled(optimizer):
    """Its state after so many steps with squared gradients of 4 that neither averages nor bias matter."""
    state = optimizer.gradient_transform().init({"w": jnp.zeros(())})

    def settle(path, leaf):
        name = str(path)
        if "count" in name:
            return jnp.int32(10**8)
        return jnp.full_like(leaf, 4.0) if "nu" in name or "squares" in name else leaf

    return jax.tree_util.tree_map_with_path(settle, state)


def walked(optimizer, curvature):
    """Distances from the minimum of curvature w^2 / 2, at half the steps and at the last."""
    transform = optimizer.gradient_transform()

    def step(carry, _):
        w, state = carry
        direction, state = transform.update({"w": curvature * w}, state, {"w": w})
        after = w - RATE * direction["w"]
        return (after, state), after

    _, path = jax.lax.scan(step, (jnp.float32(1e-12), settled(optimizer)), length=STEPS)
    return np.abs(np.asarray(path))[[STEPS // 2, -1]]


@pytest.mark.parametrize(("name", "keys"), PARAMS)
def test_the_weights_shrink_below_the_threshold_and_grow_above_it(name, keys):
    optimizer = build("optimizer", {"type": name, "learning_rate": RATE} | keys)
    stability = optimizer.stability
    scale = 1.0
    if stability.preconditioner is not None:
        scale = float(stability.preconditioner(settled(optimizer))["w"])
    threshold = float(stability.threshold(RATE, 1.0)) * scale
    with jax.numpy_dtype_promotion("standard"):
        assert np.divide(*walked(optimizer, 0.998 * threshold)[::-1]) < 0.9
        assert np.divide(*walked(optimizer, 1.002 * threshold)[::-1]) > 1.1


@pytest.mark.parametrize(
    ("keys", "threshold"),
    [
        ({"type": "sgd"}, 200),
        ({"type": "sgd", "momentum": 0.9}, 380),
        ({"type": "sgd", "momentum": 0.9, "nesterov": True}, 380 / 2.8),
        ({"type": "adam"}, 3800),
        ({"type": "rmsprop"}, 200),
    ],
)
def test_thresholds_of_the_papers(keys, threshold):
    """Cohen et al. 2021, appendix B, and 2022: 38 / rate for Adam."""
    found = build("optimizer", keys | {"learning_rate": RATE}).stability.threshold(RATE, 1.0)
    assert found == pytest.approx(threshold)


@pytest.mark.parametrize(("radius", "curvature"), [(0.05, 150.0), (0.5, 20.0), (0.0, 200.0)])
def test_sam_is_stable_up_to_where_it_oscillates(radius, curvature):
    """On h w^2 / 2 it goes from w to -w at 2 w = rate h (w + radius), where the slope is h w."""
    place = RATE * curvature * radius / (2 - RATE * curvature) if radius else 1.0
    sam = build("optimizer", {"type": "sam", "radius": radius, "optimizer": {"type": "sgd"}})
    after = place - RATE * curvature * sam.ascent({"w": jnp.float32(place)}, {"w": curvature * place})["w"]
    assert float(after) == pytest.approx(-place, rel=1e-4)
    assert float(sam.stability.threshold(RATE, curvature * place)) == pytest.approx(curvature, rel=1e-5)
    assert build("optimizer", {"type": "sam", "optimizer": {"type": "adam"}}).stability is None


def test_adams_preconditioner_is_what_it_divides_by():
    optimizer = build("optimizer", {"type": "adam", "b1": 0.0, "epsilon": 0.1})
    transform, gradient = optimizer.gradient_transform(), {"w": jnp.array([3.0, -0.5])}
    with jax.numpy_dtype_promotion("standard"):
        direction, state = transform.update(gradient, transform.init(gradient))
    np.testing.assert_allclose(gradient["w"] / direction["w"], [3.1, 0.6], rtol=1e-4)
    np.testing.assert_allclose(optimizer.stability.preconditioner(state)["w"], [3.1, 0.6], rtol=1e-4)


@pytest.mark.parametrize(
    "keys",
    [{"type": "lion"}, {"type": "grokfast"}, {"type": "adam", "clip": {"norm": 1.0}}],
    ids=lambda keys: keys["type"],
)
def test_where_no_threshold_is_known(keys):
    assert build("optimizer", keys).stability is None


def test_every_optimizer_has_a_case_or_no_threshold():
    unknown = {name for name in components("optimizer") if build("optimizer", name).stability is None}
    assert set(CASES) | unknown | {"moving_average", "sam"} == set(components("optimizer"))
    around = build("optimizer", {"type": "moving_average", "optimizer": {"type": "sgd", "momentum": 0.9}})
    assert around.stability == build("optimizer", {"type": "sgd", "momentum": 0.9}).stability  # its steps
