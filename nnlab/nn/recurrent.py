"""Recurrent layers. `B` is the batch, `T` the steps, `D` the features, `U` the units, h the states `[B, U]`.

They take sequences `[T, D]`, or `[T]` of one feature, begin at h_0 = 0, and return the last state (as Keras
does) or, with `read: null`, all of them (as PyTorch does), which a recurrent layer on top wants. `read` names
any other step likewise, of which the later ones are not computed. Wx is `kernel` `[D, U]` and Wh
`recurrent_kernel` `[U, U]`; of several gates they lie side by side, `[D, 4 U]` say, and are drawn each by
itself, so that an orthogonal recurrent kernel is so in every gate. Keras's defaults, its numbers of
parameters; where PyTorch has two biases to one here, one of them is superfluous.

A probe may lay `nudges` `[B, T, U]` beside a layer's weights: they are added to its states, so that the
gradient by them is the gradient by the states.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.attention import Position, resolve_position
from nnlab.nn.combinators import BoundChildren, setup_child
from nnlab.nn.layer import (
    ActivationLike,
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

State = tuple[Array, ...]  # what is carried from step to step; its first is h
Initializer = Callable[[np.random.Generator, Shape], np.ndarray]
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
    """h_t = f(x_t Wx + h_(t-1) Wh + b): a state that each step renews. `[B, T, D] -> [B, U]`.

    units: U. read: the step whose state is returned, or null for all, `[B, T, U]`. U (D + U + 1) parameters.
    Where f is about linear, a gradient changes by about Wh's spectral radius with every step back: an
    orthogonal Wh keeps it, {type: orthogonal, gain: 0.9} lets it vanish. Elman 1990; Bengio et al. 1994.
    """

    def step(params: Tree, state: State, now: Array) -> State:
        return (activation(now + state[0] @ params["recurrent_kernel"]),)

    drawn_by = _drawn_by(1, kernel_init, recurrent_init, bias_init if use_bias else None)
    return _recurrent("simple_rnn", units, 1, 1, read, drawn_by, step)


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
    """c_t = f c_(t-1) + i g, h_t = o tanh(c_t): gates write, keep and show a memory. `[B, T, D] -> [B, U]`.

    i, f, g, o = x_t Wx + h_(t-1) Wh + b in this order, through sigmoid, but g through tanh. units: U. read:
    the step whose h is returned, or null for all, `[B, T, U]`. forget_bias: added to f's first bias; 1 keeps
    more at the start (Gers et al. 2000; Jozefowicz et al. 2015) and is Keras's default, PyTorch has none; it
    needs use_bias. 4 U (D + U + 1) parameters. Hochreiter & Schmidhuber 1997, with Gers's forget gate.
    """

    def first_bias(random: np.random.Generator, shape: Shape) -> np.ndarray:
        bias = bias_init(random, shape)
        bias[units : 2 * units] += forget_bias
        return bias

    def step(params: Tree, state: State, now: Array) -> State:
        h, c = state
        i, f, g, o = jnp.split(now + h @ params["recurrent_kernel"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    drawn_by = _drawn_by(4, kernel_init, recurrent_init, first_bias if use_bias else None)
    return _recurrent("lstm", units, 4, 2, read, drawn_by, step)


@layer
def gru(
    units: Count,
    read: Position | None = -1,
    use_bias: bool = True,
    kernel_init: InitializerLike = "glorot_uniform",
    recurrent_init: InitializerLike = "orthogonal",
    bias_init: InitializerLike = "zeros",
) -> Layer:
    """h_t = z h_(t-1) + (1 - z) n: a state that one gate keeps and renews. `[B, T, D] -> [B, U]`.

    r, z = sigmoid(x_t Wx + b + h_(t-1) Wh + c), and n = tanh(x_t Wx + b + r (h_(t-1) Wh + c)), in the order
    r, z, n. So r resets after the product with Wh, as in PyTorch and, by its default, in Keras (where the
    order is z, r, n); in Cho et al. 2014 before it. b is `bias`, c `recurrent_bias`. units: U. read: the step
    whose state is returned, or null for all, `[B, T, U]`. 3 U (D + U + 2) parameters.
    """

    def step(params: Tree, state: State, now: Array) -> State:
        (h,) = state
        again = h @ params["recurrent_kernel"]
        if use_bias:
            again = again + jnp.broadcast_to(params["recurrent_bias"], again.shape)
        (r, z, n), (again_r, again_z, again_n) = (jnp.split(part, 3, axis=-1) for part in (now, again))
        r, z = jax.nn.sigmoid(r + again_r), jax.nn.sigmoid(z + again_z)
        n = jnp.tanh(n + r * again_n)
        return (n + z * (h - n),)

    drawn_by = _drawn_by(3, kernel_init, recurrent_init, bias_init if use_bias else None)
    if use_bias:
        drawn_by["recurrent_bias"] = bias_init
    return _recurrent("gru", units, 3, 1, read, drawn_by, step)


RECURRENT = ("simple_rnn", "lstm", "gru")


@layer
def bidirectional(layer: LayerLike) -> Layer:
    """A recurrent layer, and another one like it over the reversed sequence. `[B, T, D] -> [B, 2 U]`.

    layer: simple_rnn, lstm or gru; there are twice its parameters, `forward` and `backward`. Each reads by
    its own count, so that of the backward one `read: -1` is the state after the first element, as in Keras
    and PyTorch; with `read: null`, `[B, T, 2 U]`, both states of an element are side by side. Schuster &
    Paliwal 1997.
    """
    if layer.type not in RECURRENT:
        raise InvalidValue(f"{layer.type} has no states; take {join_words(RECURRENT, 'or')}", ("layer",))
    named = {"forward": layer, "backward": layer}

    def setup(input_shape: Shape) -> Setup:
        children = {name: setup_child(name, part, input_shape) for name, part in named.items()}
        *places, units = children["forward"].output_shape
        return Setup((*places, 2 * units), children=children)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        children = BoundChildren(named, params, state, key, train)
        forward, backward = children("forward", x), children("backward", x[:, ::-1])
        in_order = backward[:, ::-1] if backward.ndim > 2 else backward
        return children.output(jnp.concatenate([forward, in_order], axis=-1))

    return Layer(setup, apply)


def _drawn_by(
    gates: int, kernel: Initializer, recurrent: Initializer, bias: Initializer | None
) -> Initializers:
    """What draws each array: of the kernels each gate by itself, biases (if there are any) as a whole."""

    def by_gate(initializer: Initializer) -> Initializer:
        def draw(random: np.random.Generator, shape: Shape) -> np.ndarray:
            one = (*shape[:-1], shape[-1] // gates)
            return np.concatenate([initializer(random, one) for _ in range(gates)], axis=-1)

        return draw

    kernels = {"kernel": by_gate(kernel), "recurrent_kernel": by_gate(recurrent)}
    return kernels if bias is None else kernels | {"bias": bias}


def _recurrent(
    name: str,
    units: int,
    gates: int,
    memories: int,
    read: int | None,
    drawn_by: Initializers,
    step: Callable[[Tree, State, Array], State],
) -> Layer:
    """The layer of a step: (params, the state before, x_t Wx + b) -> the state after. memories: arrays of a
    state."""

    def setup(input_shape: Shape) -> Setup:
        if len(input_shape) not in (1, 2):
            raise InvalidValue(f"{name} takes sequences, [T, D] or [T], not {list(input_shape)}")
        length, features = (*input_shape, 1)[:2]
        rows = {"kernel": (features,), "recurrent_kernel": (units,)}
        shapes = {array: (*rows.get(array, ()), gates * units) for array in drawn_by}
        output_shape = (length, units) if resolve_position(read, length) is None else (units,)
        params = {array: Variable(shapes[array], drawn_by[array]) for array in drawn_by}
        return Setup(output_shape, params, workspace_values=(gates + memories) * length * units)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: bool) -> Output:
        place = resolve_position(read, x.shape[1])
        x = x if place is None else x[:, : place + 1]
        by_step = _by_step(x.reshape(*x.shape[:2], -1))
        now = by_step.reshape(-1, by_step.shape[-1]) @ params["kernel"]  # of all steps at once
        if "bias" in params:
            now = now + jnp.broadcast_to(params["bias"], now.shape)
        nudges = _by_step(params["nudges"]) if "nudges" in params else None

        def one(before: State, given: tuple[Array, Array | None]) -> tuple[State, Array]:
            now, nudge = given
            h, *others = step(params, before, now)
            h = h if nudge is None else h + nudge
            return (h, *others), h

        start = (jnp.zeros((x.shape[0], units), now.dtype),) * memories
        each = (now.reshape(*by_step.shape[:2], -1), nudges)
        last, states = jax.lax.scan(one, start, each)
        states = _by_step(states)
        return Output(states if place is None else last[0], intermediates={"states": {"": states}})

    return Layer(setup, apply)


def _by_step(values: Array) -> Array:
    """`[B, T, ...]` to `[T, B, ...]`, or back."""
    return jnp.swapaxes(values, 0, 1)
