"""The restricted Boltzmann machine against sums over all states, and contrastive divergence against NumPy."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.nn import boltzmann
from nnlab.nn.boltzmann import gibbs_sample, log_partition, negative_pseudo_log_likelihood, rbm
from nnlab.nn.model import build_model

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


def weights(visible, hidden, scale=1.0):
    shapes = {"kernel": (visible, hidden), "bias": (hidden,), "visible_bias": (visible,)}
    return {
        name: (scale * RANDOM.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()
    }


def states(units):
    return np.array(list(itertools.product((0.0, 1.0), repeat=units)))


def joint(params, visible, hidden):
    """exp(-E(v, h)) of every pair of states, in float64."""
    w, c, b = (np.asarray(params[name], np.float64) for name in ("kernel", "bias", "visible_bias"))
    v, h = states(visible), states(hidden)
    return np.exp((v @ b)[:, None] + (h @ c)[None] + v @ w @ h.T)


def evaluated(params, inputs, hidden):
    layer = rbm(hidden)
    return np.asarray(layer.apply(params, {}, jnp.asarray(inputs, jnp.float32), key=KEY, train=False).value)[
        :, 0
    ]


@pytest.mark.parametrize(("visible", "hidden"), [(5, 3), (3, 5), (4, 4)])
def test_the_likelihood_is_that_of_the_sum_over_all_pairs_of_states(visible, hidden):
    params = weights(visible, hidden)
    weight = joint(params, visible, hidden)
    assert float(log_partition(params)) == pytest.approx(math.log(weight.sum()), rel=1e-5)
    expected = -np.log(weight.sum(1) / weight.sum())
    np.testing.assert_allclose(evaluated(params, states(visible), hidden), expected, rtol=1e-5)


def test_the_pseudo_likelihood_is_that_of_each_bit_given_the_others(monkeypatch):
    params = weights(5, 3)
    probability = dict(zip(map(tuple, states(5)), joint(params, 5, 3).sum(1), strict=True))
    expected = []
    for v in states(5):
        others = [tuple(np.where(np.arange(5) == i, 1 - v, v)) for i in range(5)]
        here = probability[tuple(v)]
        expected.append(-sum(math.log(here / (here + probability[other])) for other in others))
    found = negative_pseudo_log_likelihood(params, jnp.asarray(states(5), jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    monkeypatch.setattr(boltzmann, "MAXIMUM_ENUMERATED_UNITS", 2)
    np.testing.assert_allclose(evaluated(params, states(5), 3), expected, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_is_that_of_contrastive_divergence(steps):
    """<v h> of the data less <v h> after k steps, with h's probability, in NumPy."""
    params, v = weights(6, 4), RANDOM.integers(0, 2, (20, 6)).astype(np.float32)
    layer = rbm(4, gibbs_steps=steps)
    found = jax.grad(lambda p: layer.apply(p, {}, jnp.asarray(v), key=KEY, train=True).value.mean())(params)
    reached = np.asarray(gibbs_sample(params, jnp.asarray(v), KEY, steps))
    assert set(np.unique(reached)) == {0.0, 1.0}

    def statistics(values):
        h = 1 / (1 + np.exp(-(values.astype(np.float64) @ params["kernel"] + params["bias"])))
        return {
            "kernel": values.T @ h / len(values),
            "bias": h.mean(0),
            "visible_bias": values.mean(0),
        }

    data, model = statistics(v), statistics(reached)
    for name in params:
        np.testing.assert_allclose(found[name], model[name] - data[name], rtol=1e-4, atol=1e-6)


def frequencies(drawn):
    codes = np.asarray(drawn).astype(int) @ 2 ** np.arange(drawn.shape[1])[::-1]
    return np.bincount(codes, minlength=2 ** drawn.shape[1]) / len(drawn)


@pytest.mark.parametrize(("visible", "hidden"), [(4, 3), (3, 4)])
def test_samples_are_as_frequent_as_probable(visible, hidden, monkeypatch):
    params = weights(visible, hidden)
    weight = joint(params, visible, hidden)
    sample = rbm(hidden).setup((visible,)).sample
    exact = frequencies(np.asarray(sample(params, {}, KEY, 4_000)))
    np.testing.assert_allclose(exact, weight.sum(1) / weight.sum(), atol=0.03)
    monkeypatch.setattr(boltzmann, "MAXIMUM_ENUMERATED_UNITS", 2)
    monkeypatch.setattr(boltzmann, "SAMPLING_STEPS", 50)
    by_gibbs = frequencies(np.asarray(sample(params, {}, KEY, 4_000)))
    np.testing.assert_allclose(by_gibbs, weight.sum(1) / weight.sum(), atol=0.03)


def test_a_machine_too_large_for_its_sum_says_so():
    small, large = (build_model(rbm(units), (40,)).setup.children["rbm_1"] for units in (16, 17))
    assert (small.own_loss, small.note) == ("negative log-likelihood, nats", "likelihood exact")
    assert (large.own_loss, large.note) == ("negative pseudo-log-likelihood, nats", "pseudo-likelihood")
