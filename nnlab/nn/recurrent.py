"""Recurrent layers.

`B` is the batch, `T` the steps, `D` the features, `U` the units, h_t the states `[B, U]`.

The layers take sequences `[T, D]`, or `[T]` with one feature, and start from h_0 = 0. They return the last
state (as Keras does) or, with `read: null`, all states (as PyTorch does), which a recurrent layer on top
needs. `read` may select any other step too; later steps are then not computed.

Wx is `kernel`, `[D, U]`, and Wh is `recurrent_kernel`, `[U, U]`. The kernels of several gates lie side by
side, `[D, 4 U]` for four, and each gate's is drawn by itself, so that an orthogonal recurrent kernel is
orthogonal in every gate. Defaults and numbers of parameters are those of Keras; PyTorch has two biases where
there is one here, of which one is redundant.

A probe may put `perturbations` `[B, T, U]` beside a layer's weights. They are added to the states, so that
the gradient with respect to them is the gradient with respect to the states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.activations import tanh
from nnlab.nn.attention import Position, resolve_position
from nnlab.nn.combinators import BoundChildren, setup_child
from nnlab.nn.layer import (
    Activation,
    ActivationLike,
    Initializer,
    InitializerLike,
    Layer,
    LayerLike,
    Output,
    Setup,
    Shape,
    Tree,
    Variable,
    layer,
)
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import join_words

State = tuple[Array, ...]  # what is carried from step to step; the first array is h
Step = Callable[[Tree, State, Array], State]  # (params, state before, x_t Wx + b) -> state after
Initializers = dict[str, Initializer]  # by the name of the array


@layer
def simple_rnn(
    units: Count,
    activation: ActivationLike = "tanh",
    read: Position | None = -1,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    recurrent_init: InitializerLike = "orthogonal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """A simple recurrent layer, h_t = f(x_t Wx + h_(t-1) Wh + b).

    U (D + U + 1) parameters. Where f is nearly linear, a gradient changes by about Wh's spectral radius with
    each step back: an orthogonal Wh preserves it, {type: orthogonal, gain: 0.9} makes it vanish.

    Shape:
        `[B, T, D] -> [B, U]`, or `[B, T, U]` with `read: null`.

    Args:
        units: U, the size of the state.
        activation: f; the default is that of Keras and PyTorch.
        read: The step whose state is returned, from 0 or, counted from the end, from -1. null is all steps.
        use_bias: Whether b is added.
        kernel_init: Draws Wx.
        recurrent_init: Draws Wh.
        bias_init: Draws b. All defaults are those of Keras.

    Reference:
        Elman 1990, Finding structure in time; Bengio et al. 1994 on vanishing gradients.
    """

    def step(params: Tree, state: State, x_projected: Array) -> State:
        return (activation(x_projected + state[0] @ params["recurrent_kernel"]),)

    initializers = _initializers(1, kernel_init, recurrent_init, bias_init if use_bias else None)
    return _recurrent("simple_rnn", units, 1, 1, read, initializers, step, activation)


@layer
def lstm(
    units: Count,
    read: Position | None = -1,
    use_bias: bool = True,
    forget_bias: float = 1.0,
    kernel_init: InitializerLike = "glorot_uniform",
    recurrent_init: InitializerLike = "orthogonal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """Long short-term memory, c_t = f c_(t-1) + i g and h_t = o tanh(c_t).

    The gates i, f, g, o write, keep, propose and show a memory c. They are x_t Wx + h_(t-1) Wh + b, in this
    order, through sigmoid, but g through tanh. 4 U (D + U + 1) parameters.

    Shape:
        `[B, T, D] -> [B, U]`, or `[B, T, U]` with `read: null`.

    Args:
        units: U, the size of the state.
        read: The step whose state is returned, from 0 or, counted from the end, from -1. null is all steps.
        use_bias: Whether b is added.
        forget_bias: Added to the initial bias of f; 1 keeps more of the memory at the start (Gers et al.
            2000; Jozefowicz et al. 2015). Needs use_bias. PyTorch has none.
        kernel_init: Draws Wx, each gate by itself.
        recurrent_init: Draws Wh, each gate by itself.
        bias_init: Draws b. All defaults are those of Keras.

    Reference:
        Hochreiter & Schmidhuber 1997, Long short-term memory, with the forget gate of Gers et al. 2000.
    """

    def initial_bias(random: np.random.Generator, shape: Shape) -> np.ndarray:
        bias: np.ndarray = bias_init(random, shape)
        bias[units : 2 * units] += forget_bias
        return bias

    def step(params: Tree, state: State, x_projected: Array) -> State:
        h, c = state
        i, f, g, o = jnp.split(x_projected + h @ params["recurrent_kernel"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    initializers = _initializers(4, kernel_init, recurrent_init, initial_bias if use_bias else None)
    return _recurrent("lstm", units, 4, 2, read, initializers, step, tanh)


@layer
def gru(
    units: Count,
    read: Position | None = -1,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    recurrent_init: InitializerLike = "orthogonal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """A gated recurrent unit, h_t = z h_(t-1) + (1 - z) n.

    r, z = sigmoid(x_t Wx + b + h_(t-1) Wh + c) and n = tanh(x_t Wx + b + r (h_(t-1) Wh + c)), in the order
    r, z, n. So r resets after the product with Wh, as in PyTorch and, by default, in Keras (where the order
    is z, r, n); in Cho et al. 2014 before it. b is `bias`, c `recurrent_bias`. 3 U (D + U + 2) parameters.

    Shape:
        `[B, T, D] -> [B, U]`, or `[B, T, U]` with `read: null`.

    Args:
        units: U, the size of the state.
        read: The step whose state is returned, from 0 or, counted from the end, from -1. null is all steps.
        use_bias: Whether b and c are added.
        kernel_init: Draws Wx, each gate by itself.
        recurrent_init: Draws Wh, each gate by itself.
        bias_init: Draws b and c. All defaults are those of Keras.

    Reference:
        Cho et al. 2014, Learning phrase representations using RNN encoder-decoder.
    """

    def step(params: Tree, state: State, x_projected: Array) -> State:
        (h,) = state
        h_projected = h @ params["recurrent_kernel"]
        if use_bias:
            h_projected = h_projected + jnp.broadcast_to(params["recurrent_bias"], h_projected.shape)
        (x_r, x_z, x_n), (h_r, h_z, h_n) = (
            jnp.split(gates, 3, axis=-1) for gates in (x_projected, h_projected)
        )
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
        return (n + z * (h - n),)

    initializers = _initializers(3, kernel_init, recurrent_init, bias_init if use_bias else None)
    if use_bias:
        initializers["recurrent_bias"] = bias_init
    return _recurrent("gru", units, 3, 1, read, initializers, step, tanh)


RECURRENT = ("simple_rnn", "lstm", "gru")


@layer
def bidirectional(layer: LayerLike) -> Layer:
    """A recurrent layer, and a second one like it over the reversed sequence.

    Their states are concatenated. They are named `forward` and `backward` and have twice the layer's
    parameters. `read` counts the steps of each layer in its own direction, so that `read: -1` is, of the
    backward one, the state after the first element, as in Keras and PyTorch. With `read: null` both states
    of an element are side by side.

    Shape:
        `[B, T, D] -> [B, 2 U]`, or `[B, T, 2 U]` where the layer has `read: null`.

    Args:
        layer: simple_rnn, lstm or gru.

    Reference:
        Schuster & Paliwal 1997, Bidirectional recurrent neural networks.
    """
    if layer.type not in RECURRENT:
        raise InvalidValue(f"{layer.type} has no states; take {join_words(RECURRENT, 'or')}", ("layer",))
    named = {"forward": layer, "backward": layer}

    def setup(input_shape: Shape) -> Setup:
        children = {name: setup_child(name, part, input_shape) for name, part in named.items()}
        *steps, units = children["forward"].output_shape
        state_activation = children["forward"].state_activation
        return Setup((*steps, 2 * units), children=children, state_activation=state_activation)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(named, params, state, key, train)
        forward, backward = children("forward", x), children("backward", x[:, ::-1])
        in_order = backward[:, ::-1] if backward.ndim > 2 else backward
        return children.output(jnp.concatenate([forward, in_order], axis=-1))

    return Layer(setup, apply)


def _initializers(
    gates: int, kernel: Initializer, recurrent: Initializer, bias: Initializer | None
) -> Initializers:
    """The initializer of each array: kernels are drawn gate by gate, biases (if there are any) at once."""

    def by_gate(initializer: Initializer) -> Initializer:
        def draw(random: np.random.Generator, shape: Shape) -> np.ndarray:
            gate_shape = (*shape[:-1], shape[-1] // gates)
            return np.concatenate([initializer(random, gate_shape) for _ in range(gates)], axis=-1)

        return draw

    kernels = {"kernel": by_gate(kernel), "recurrent_kernel": by_gate(recurrent)}
    return kernels if bias is None else kernels | {"bias": bias}


def _recurrent(
    name: str,
    units: int,
    gates: int,
    memories: int,
    read: int | None,
    initializers: Initializers,
    step: Step,
    activation: Activation,
) -> Layer:
    """The layer that applies `step` along a sequence.

    memories: number of arrays in a State; activation: a function in whose range the states lie.
    """

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) not in (1, 2):
            raise InvalidValue(f"{name} takes sequences, [T, D] or [T], not {list(input_shape)}")
        length, features = (*input_shape, 1)[:2]
        rows = {"kernel": (features,), "recurrent_kernel": (units,)}
        params = {
            array: Variable((*rows.get(array, ()), gates * units), initializer)
            for array, initializer in initializers.items()
        }
        output_shape = (length, units) if resolve_position(read, length) is None else (units,)
        return Setup(
            output_shape,
            params,
            state_activation=activation,
            workspace_values=(gates + memories) * length * units,
        )

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        position = resolve_position(read, x.shape[1])
        x = x if position is None else x[:, : position + 1]
        x = _swap_batch_and_steps(x.reshape(*x.shape[:2], -1))
        x_projected = x.reshape(-1, x.shape[-1]) @ params["kernel"]  # of all steps at once
        if "bias" in params:
            x_projected = x_projected + jnp.broadcast_to(params["bias"], x_projected.shape)
        perturbations = _swap_batch_and_steps(params["perturbations"]) if "perturbations" in params else None

        def scan_step(carry: State, inputs: tuple[Array, Array | None]) -> tuple[State, Array]:
            projected, perturbation = inputs
            h, *others = step(params, carry, projected)
            h = h if perturbation is None else h + perturbation
            return (h, *others), h

        initial = (jnp.zeros((x.shape[1], units), x_projected.dtype),) * memories
        by_step = (x_projected.reshape(*x.shape[:2], -1), perturbations)
        last, states = jax.lax.scan(scan_step, initial, by_step)
        states = _swap_batch_and_steps(states)
        return Output(states if position is None else last[0], intermediates={"states": {"": states}})

    return Layer(setup, apply)


def _swap_batch_and_steps(values: Array) -> Array:
    """`[B, T, ...]` to `[T, B, ...]`, or back."""
    return jnp.swapaxes(values, 0, 1)
