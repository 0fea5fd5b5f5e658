"""The restricted Boltzmann machine, a layer whose outputs are its own loss.

Letters in shapes: B examples, V visible units, H hidden units.
"""

from __future__ import annotations

from nnlab.errors import InvalidValue
from nnlab.nn.layer import (
    InitializerLike,
    Layer,
    Output,
    Setup,
    Shape,
    Tree,
    Variable,
    at_least_float32,
    layer,
)
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

MAXIMUM_ENUMERATED_UNITS = 16  # of one side, all of whose states are gone through
SAMPLING_STEPS = 1_000  # of Gibbs sampling, from random bits on, where no side can be gone through
NEGATIVE_LOG_LIKELIHOOD = "negative log-likelihood, nats"


@layer
def rbm(
    hidden: Count,
    gibbs_steps: Count = 1,
    kernel_init: InitializerLike = "glorot_normal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """A restricted Boltzmann machine over bits, which learns by contrastive divergence; loss: layer_loss.

    P(v, h) = exp(v . b + h . c + v W h) / Z for visible v and hidden h, all of them 0 or 1, so that P(v) =
    exp(-F(v)) / Z with the free energy F(v) = -v . b - sum_j log(1 + exp(c_j + (v W)_j)).

    In training the output is F(v) - F(v_k), where v_k is v after k steps of Gibbs sampling, h from P(h|v) and
    v from P(v|h); v_k is held fixed, and the gradient is that of CD-k. Its value says little. In evaluation
    it is the negative log-likelihood, F(v) + log Z, in nats, where Z is a sum over all states of one side, of
    at most 16 units. Of larger machines it is the negative pseudo-log-likelihood, -sum_i log P(v_i | the
    other bits), which needs no Z and is no bound of the likelihood.

    The kernel W is `[V, H]`, the biases b `[V]` and c `[H]`: V H + V + H parameters. Samples are exact where
    Z is, else they come from 1,000 steps of Gibbs sampling.

    Shape:
        `[B, V] -> [B, 1]`, of inputs 0 or 1, such as `normalize: binarize` makes.

    Args:
        hidden: H, the number of hidden units.
        gibbs_steps: k.
        kernel_init: Draws W.
        bias_init: Draws b and c.

    Reference:
        Hinton 2002, Training products of experts by minimizing contrastive divergence; lectures 002 and 004.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) != 1:
            raise InvalidValue(
                f"rbm takes inputs of one axis, not {list(input_shape)}; put flatten before it"
            )
        (visible,) = input_shape
        exact = min(visible, hidden) <= MAXIMUM_ENUMERATED_UNITS
        return Setup(
            (1,),
            {
                "kernel": Variable((visible, hidden), kernel_init),
                "bias": Variable((hidden,), bias_init),
                "visible_bias": Variable((visible,), bias_init),
            },
            random=True,
            workspace_values=0 if exact else visible * hidden,
            own_loss=NEGATIVE_LOG_LIKELIHOOD if exact else "negative pseudo-log-likelihood, nats",
            takes="0 or 1",
            sample=_sample,
            note="likelihood exact" if exact else "pseudo-likelihood",
        )

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        losses = _contrastive_divergence(params, x, key, gibbs_steps) if train else _evaluation(params, x)
        return Output(losses.astype(x.dtype)[:, None])

    return Layer(setup, apply)


def _contrastive_divergence(params: Tree, visible: Array, key: Array, steps: int) -> Array:
    reached = jax.lax.stop_gradient(gibbs_sample(params, visible, key, steps))
    return free_energy(params, visible) - free_energy(params, reached)


def _evaluation(params: Tree, visible: Array) -> Array:
    if min(params["kernel"].shape) > MAXIMUM_ENUMERATED_UNITS:
        return negative_pseudo_log_likelihood(params, visible)
    return free_energy(params, visible) + log_partition(params)


def free_energy(params: Tree, visible: Array) -> Array:
    """F(v) of states `[B, V]`, `[B]` float32."""
    wide = jax.tree.map(at_least_float32, dict(params))
    return -at_least_float32(visible) @ wide["visible_bias"] - _softplus_sum(
        wide["kernel"], wide["bias"], at_least_float32(visible)
    )


def log_partition(params: Tree) -> Array:
    """log Z, `[]`, by a sum over all states of the smaller side."""
    return jax.nn.logsumexp(_log_weights(params))


def gibbs_sample(params: Tree, visible: Array, key: Array, steps: int) -> Array:
    """Visible states `[B, V]` after some steps of Gibbs sampling."""
    kernel, bias, visible_bias = params["kernel"], params["bias"], params["visible_bias"]

    def step(number: Array, v: Array) -> Array:
        hidden_key, visible_key = jax.random.split(jax.random.fold_in(key, number))
        h = _draw_bits(hidden_key, v @ kernel + bias[None])
        return _draw_bits(visible_key, h @ kernel.T + visible_bias[None])

    return jax.lax.fori_loop(0, steps, step, visible)


def negative_pseudo_log_likelihood(params: Tree, visible: Array) -> Array:
    """-sum_i log P(v_i | all other bits) of states `[B, V]`, `[B]`: each bit beside its opposite."""
    wide = jax.tree.map(at_least_float32, dict(params))
    v = at_least_float32(visible)
    change = 1.0 - 2.0 * v  # of each bit, where it flips
    fields = v @ wide["kernel"] + wide["bias"][None]
    flipped = fields[:, None] + change[:, :, None] * wide["kernel"][None]  # [B, V, H]
    rise = jax.nn.softplus(flipped).sum(-1) - jax.nn.softplus(fields).sum(-1)[:, None]
    return jax.nn.softplus(change * wide["visible_bias"][None] + rise).sum(-1)


def _sample(params: Tree, state: Tree, key: Array, count: int) -> Array:
    """Visible states `[count, V]`."""
    visible, hidden = params["kernel"].shape
    state_key, bits_key = jax.random.split(key)
    if min(visible, hidden) > MAXIMUM_ENUMERATED_UNITS:
        start = jax.random.bernoulli(bits_key, 0.5, (count, visible)).astype(params["kernel"].dtype)
        return gibbs_sample(params, start, state_key, SAMPLING_STEPS)
    shares = jnp.cumsum(jax.nn.softmax(_log_weights(params)))
    places = jnp.searchsorted(shares, shares[-1] * jax.random.uniform(state_key, (count,)))
    states = _all_states(min(visible, hidden))[places].astype(params["kernel"].dtype)
    if visible <= hidden:
        return states
    return _draw_bits(bits_key, states @ params["kernel"].T + params["visible_bias"][None])


def _log_weights(params: Tree) -> Array:
    """log of Z P(s) for all states s of the smaller side, in the order of `_all_states`."""
    wide = jax.tree.map(at_least_float32, dict(params))
    visible, hidden = wide["kernel"].shape
    if visible <= hidden:
        return -free_energy(wide, _all_states(visible))
    states = _all_states(hidden)
    return states @ wide["bias"] + _softplus_sum(wide["kernel"].T, wide["visible_bias"], states)


def _all_states(units: int) -> Array:
    """All states of some units, `[2^units, units]` float32: the bits of the numbers from 0 on."""
    return ((jnp.arange(2**units)[:, None] >> jnp.arange(units)[None]) & 1).astype(jnp.float32)


def _softplus_sum(kernel: Array, bias: Array, states: Array) -> Array:
    """sum_j log(1 + exp(bias_j + (s kernel)_j)) of states `[S, *]`, `[S]`."""
    return jax.nn.softplus(states @ kernel + bias[None]).sum(-1)


def _draw_bits(key: Array, logits: Array) -> Array:
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)
