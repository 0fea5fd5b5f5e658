"""Hidden units brought into the order of another net's: the same function, at other weights.

In a chain of dense layers with elementwise activations, the units of a hidden layer may change places: with
the columns of its kernel W_l and the values of its bias b_l go the rows of the next kernel, and the function
stays what it is. Of all such orders P_1, P_2, ... of net B, the one sought has the greatest inner product of
all its weights with those of net A, and so the least distance to it. With the other layers' orders held, that
of layer l is a linear assignment: unit i of A gains

    W_l^A[:, i] . W_l^B[P_(l-1), j]  +  b_l^A[i] b_l^B[j]  +  W_(l+1)^A[i, :] . W_(l+1)^B[j, P_(l+1)]

by unit j of B. Layer after layer is assigned anew until none gains; so it ends, if at an order that a change
of two layers at once might better.

Reference:
    Ainsworth et al. 2022, "Git Re-Basin: merging models modulo permutation symmetries", algorithm 1, with the
    layers in their order in place of a random one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Tree

LEAST_GAIN = 1e-9  # of a new order, relative to the sum over units: less is rounding


def matched_units(setup: Setup, wanted: Tree, given: Tree) -> Tree:
    """A net's weights with its hidden units in the order that is nearest to another net's.

    Args:
        setup: The model of both.
        wanted: The weights of the other net, by layer, arrays of the host.
        given: Those of the net, likewise.

    Returns:
        The weights of the net whose units changed places.

    Raises:
        InvalidValue: The model is no chain of dense layers with elementwise activations.
    """
    names = dense_chain(setup)
    first, second = ([_with_bias(tree[name]) for name in names] for tree in (wanted, given))
    orders = _match(first, second)
    return dict(given) | {
        name: _ordered(given[name], orders[place], orders[place + 1]) for place, name in enumerate(names)
    }


def dense_chain(setup: Setup) -> list[str]:
    """The names of the dense layers of a chain. Raises InvalidValue where it has others with weights, or
    inputs of more than one axis to a dense layer."""
    names: list[str] = []
    for name, leaf in setup.children.items():
        is_dense = leaf.type == "dense" and len(leaf.output_shape) == 1
        before_all = not names and leaf.type == "flatten"
        if is_dense:
            names.append(name)
        elif leaf.activation is None and leaf.type != "dropout" and not before_all:
            raise InvalidValue(
                f"units are matched in a chain of dense layers with elementwise activations, and {name} is "
                "none; leave it out, or do not match"
            )
    return names


def _match(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The order of the second net's units before and after each dense layer, of the inputs and the outputs
    as they are."""
    from scipy.optimize import linear_sum_assignment

    sizes = [len(first[0]) - 1, *(kernel.shape[1] for kernel in first)]
    orders = [np.arange(size) for size in sizes]
    hidden, gained = range(1, len(sizes) - 1), True
    while gained:
        gained = False
        for layer in hidden:
            gain = _gain(first, second, orders, layer)
            _, order = linear_sum_assignment(gain, maximize=True)
            units = np.arange(sizes[layer])
            better = gain[units, order].sum() - gain[units, orders[layer]].sum()
            if better > LEAST_GAIN * np.abs(gain).max(1).sum():
                orders[layer], gained = order, True
    return orders


def _gain(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], orders: Sequence[np.ndarray], layer: int
) -> np.ndarray:
    """What unit i of the first net gains by unit j of the second one, `[U, U]`."""
    incoming = first[layer - 1].T @ second[layer - 1][_with_constant(orders[layer - 1])]
    outgoing = first[layer][:-1] @ second[layer][:-1, orders[layer + 1]].T
    return incoming + outgoing


def _with_bias(arrays: Tree) -> np.ndarray:
    """The kernel `[D + 1, U]` of a dense layer, float64, whose last row is its bias."""
    kernel = np.asarray(arrays["kernel"], np.float64)
    bias = np.asarray(arrays.get("bias", np.zeros(kernel.shape[1])), np.float64)
    return np.concatenate([kernel, bias[None]])


def _with_constant(order: np.ndarray) -> np.ndarray:
    """The order of a layer's units, and last the constant that its bias is multiplied by."""
    return np.append(order, len(order))


def _ordered(arrays: Tree, before: np.ndarray, after: np.ndarray) -> Tree:
    """The arrays of a dense layer, with its inputs and its units in these orders."""
    kernel = np.asarray(arrays["kernel"])[np.ix_(before, after)]
    return {name: kernel if name == "kernel" else np.asarray(array)[after] for name, array in arrays.items()}
