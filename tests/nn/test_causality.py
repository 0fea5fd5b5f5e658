"""Whole models that foretell the next token: an output depends on no later position, by the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.nn.attention import transformer_block
from nnlab.nn.combinators import sequential
from nnlab.nn.dense import dense
from nnlab.nn.model import build_model
from nnlab.nn.normalization import layer_norm
from nnlab.nn.recurrent import bidirectional, gru, lstm, simple_rnn

LENGTH, UNITS, TOKENS = 7, 8, 5
BLOCK = {"causal": True, "dropout_rate": 0.1}
CAUSAL = {
    "transformer": [transformer_block(2, **BLOCK), transformer_block(4, **BLOCK), layer_norm()],
    "simple_rnn": [simple_rnn(6, read=None)],
    "lstm": [lstm(6, read=None), lstm(6, read=None)],
    "gru": [gru(6, read=None), layer_norm(), gru(6, read=None)],
}


def heard(layers):
    """Which position's output depends on which position's input, `[T, T]`, at several inputs."""
    net = build_model(sequential([*layers, dense(TOKENS)]), (LENGTH, UNITS))
    params, state = net.init(0)

    def outputs(x):
        return net.apply(params, state, x[None], key=jax.random.key(0), train=False).value[0]

    x = np.random.default_rng(0).standard_normal((3, LENGTH, UNITS)).astype(np.float32)
    jacobians = jax.jit(jax.vmap(jax.jacobian(outputs)))(jnp.asarray(x))  # [inputs, T, K, T, D]
    return (np.asarray(jacobians) != 0).any((0, 2, 4))


@pytest.mark.parametrize("name", CAUSAL)
def test_an_output_depends_on_all_earlier_positions_and_on_no_later_one(name):
    np.testing.assert_array_equal(heard(CAUSAL[name]), np.tri(LENGTH, dtype=bool))


@pytest.mark.parametrize("layers", [[transformer_block(2)], [bidirectional(gru(6, read=None))]])
def test_without_that_it_depends_on_later_ones(layers):
    assert heard(layers).all()
