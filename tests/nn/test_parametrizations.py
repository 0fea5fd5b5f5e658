"""Parametrizations of dense layers, and centred outputs, against their equations."""

import jax
import numpy as np
import pytest
from support import KEY, SEED, close, drawn, from_config, pulled_back

from nnlab.errors import InvalidValue
from nnlab.nn.model import build_model

X = drawn((6, 25))


def built(config, shape=(25,)):
    net = build_model(from_config(config), shape)
    return net, *net.init(SEED)


@pytest.mark.parametrize(("parametrization", "factor"), [("ntk", 0.4), ("mean_field", 0.08)])
def test_scaled_dense_is_its_equation(parametrization, factor):
    config = {"type": "scaled_dense", "units": 400, "parametrization": parametrization, "gain": 2.0}
    net, params, state = built(config)
    out, grads, weights = pulled_back(net, params, state, X)
    kernel = params["scaled_dense_1"]["kernel"]
    close(out.value, factor * X @ kernel, 1e-4)
    close(grads[0]["scaled_dense_1"]["kernel"], factor * X.T @ weights, 1e-4)
    close(grads[0]["scaled_dense_1"]["bias"], weights.sum(0), 1e-4)
    assert abs(kernel.std() - 1) < 0.03
    assert not params["scaled_dense_1"]["bias"].any()


def test_in_the_ntk_parametrization_the_first_step_moves_the_outputs_as_far_at_any_width():
    """By the squared length of the gradient; in a dense layer that grows with the width."""

    def moved(width):
        layers = [{"type": "scaled_dense", "units": n, "use_bias": False} for n in (width, 1)]
        net, params, state = built([layers[0], "tanh", layers[1]])

        def total(params):
            return net.apply(params, state, X, key=KEY, train=True).value.sum()

        return sum(float(np.square(leaf).sum()) for leaf in jax.tree.leaves(jax.grad(total)(params)))

    assert moved(2000) == pytest.approx(moved(500), rel=0.2)


HIDDEN, READ_OUT = ({"type": "dense", "units": units} for units in (4, 2))
LAYERS = [HIDDEN, "tanh", {"type": "dropout", "rate": 0.5}, READ_OUT]


def test_centred_outputs_are_what_was_learnt():
    net, params, state = built({"type": "centred", "layers": LAYERS, "scale": 3.0})
    branch, plain, _ = built(LAYERS)
    inner = params["centred_1"]
    jax.tree.map(np.testing.assert_array_equal, state["centred_1"], inner)
    assert not np.any(net.apply(params, state, X, key=KEY, train=True).value)
    other = jax.tree.map(lambda leaf: leaf + 0.1, inner)
    found = net.apply({"centred_1": other}, state, X, key=KEY, train=False)
    now, first = (branch.apply(w, {}, X, key=KEY, train=False).value for w in (other, inner))
    close(found.value, 3 * (now - first), 1e-5)
    jax.tree.map(np.testing.assert_array_equal, found.state["centred_1"], inner)
    assert net.setup.count("state") == net.setup.count("params")
    assert plain.keys() == inner.keys()


def test_centred_takes_no_layer_with_state():
    layers = [HIDDEN, {"type": "residual", "layers": ["batch_norm"]}]
    message = "centred takes no layer that carries state along, as residual_1/batch_norm_1 does"
    with pytest.raises(InvalidValue, match=message):
        built({"type": "centred", "layers": layers})


def test_scaled_dense_takes_one_axis():
    with pytest.raises(InvalidValue, match="put flatten before it"):
        built({"type": "scaled_dense", "units": 4}, (3, 4))
