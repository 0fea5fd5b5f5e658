"""Tables of binary operations: every pair of operands is an example, and its class is the answer.

After Power et al. 2022, appendix A.1.1. `p` is the modulus, `n` the number of operands (p, or the 120
permutations of S5), `N` the number of pairs.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.examples import Examples, Source, classification_examples
from nnlab.errors import InvalidValue
from nnlab.registry import register


def _inverse(y: np.ndarray, p: int) -> np.ndarray:
    """y^-1 modulo a prime; 0 for 0, which has none."""
    table = np.array([0, *(pow(value, -1, p) for value in range(1, p))])
    return table[y]


ModularOperation = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
MODULAR_OPERATIONS: dict[str, ModularOperation] = {
    "x+y": lambda x, y, p: x + y,
    "x-y": lambda x, y, p: x - y,
    "x*y": lambda x, y, p: x * y,
    "x/y": lambda x, y, p: x * _inverse(y, p),
    "mixed": lambda x, y, p: np.where(y % 2 == 1, x * _inverse(y, p), x - y),
    "x^2+y^2": lambda x, y, p: x**2 + y**2,
    "x^2+x*y+y^2": lambda x, y, p: x**2 + x * y + y**2,
    "x^2+x*y+y^2+x": lambda x, y, p: x**2 + x * y + y**2 + x,
    "x^3+x*y": lambda x, y, p: x**3 + x * y,
    "x^3+x*y^2+y": lambda x, y, p: x**3 + x * y**2 + y,
}

S5 = np.array(list(itertools.permutations(range(5))))  # [120, 5]: row g maps i to g[i]


def _product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The number of the permutation "first x, then y", which maps i to y[x[i]]."""
    return _permutation_numbers(np.take_along_axis(S5[y], S5[x], axis=1))


def _inverse_permutation(x: np.ndarray) -> np.ndarray:
    return _permutation_numbers(np.argsort(S5[x], axis=1))


def _permutation_numbers(permutations: np.ndarray) -> np.ndarray:
    """The rows of S5 `[N]` that permutations `[N, 5]` are."""
    digits = 5 ** np.arange(5)[::-1]  # in lexicographic order these are ascending
    return np.searchsorted(S5 @ digits, permutations @ digits)


GROUP_OPERATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "s5": _product,
    "s5_conjugate": lambda x, y: _product(_product(x, y), _inverse_permutation(x)),
    "s5_aba": lambda x, y: _product(_product(x, y), x),
}


Operation = Literal[*MODULAR_OPERATIONS, *GROUP_OPERATIONS]  # type: ignore[valid-type]
Encoding = Literal["one_hot", "tokens", "scalar", "binary"]
MAXIMUM_VALUES = 2**28  # of all inputs, 1 GB


@register("dataset")
def modular_arithmetic(
    operation: Operation = "x+y",
    modulus: Annotated[int, Ge(2), Le(9973)] = 97,
    encoding: Encoding = "one_hot",
) -> Source:
    """All pairs (x, y) with the answer of an operation on them, modulo a prime p or in the group S5.

    n is the number of operands: p, or the 120 permutations of five things in lexicographic order. There are n
    classes.

    Args:
        operation: Modulo p, with x and y from 0 to p - 1: x+y, x-y, x*y, x/y (y from 1 on), mixed (x/y for
            odd y, x-y for even y) and polynomials; p^2 examples (x/y: p (p - 1)). Of permutations: s5 (x y:
            first x, then y), s5_conjugate (x y x^-1) and s5_aba (x y x); 14,400 examples.
        modulus: p, a prime from 2 to 9973; S5 ignores it.
        encoding: How a pair becomes an input:
            one_hot: `[2 n]`, a one for x and one for y;
            tokens: `[4]`, the numbers of x, the operator (n), y and the equals sign (n + 1), for an embedding
            with a vocabulary of n + 2;
            scalar: `[2]`, x / n and y / n, which keeps next to nothing of the structure;
            binary: `[2 b]`, the b bits of x, highest first, then those of y.

    Raises:
        InvalidValue: The modulus is no prime, or the inputs would have more than 2^28 values.

    Reference:
        Power et al. 2022, Grokking: generalization beyond overfitting on small algorithmic datasets.
    """
    group = operation.startswith("s5")
    if not group and not _is_prime(modulus):
        below, above = _nearest_prime(modulus, -1), _nearest_prime(modulus, 1)
        raise InvalidValue(f"{modulus} is no prime; the nearest are {below} and {above}", ("modulus",))
    operands = len(S5) if group else modulus
    width = _width(operands, encoding)
    if operands**2 * width > MAXIMUM_VALUES:
        raise InvalidValue(
            f"{operands}^2 pairs of {width} values are more than {MAXIMUM_VALUES:,} values; "
            "take a smaller modulus or encoding: tokens, 4 values a pair",
            ("encoding",),
        )

    def load(_: int) -> tuple[Examples, None]:
        x, y = (axis.reshape(-1) for axis in np.indices((operands, operands)))
        if operation == "x/y":
            x, y = x[y > 0], y[y > 0]
        answers = (
            GROUP_OPERATIONS[operation](x, y)
            if group
            else MODULAR_OPERATIONS[operation](x, y, modulus) % modulus
        )
        return classification_examples(encode_pairs(x, y, operands, encoding), answers, operands), None

    return Source(load)


def encode_pairs(x: np.ndarray, y: np.ndarray, operands: int, encoding: Encoding) -> np.ndarray:
    """Pairs of operands as a network's inputs; see `modular_arithmetic`.

    Args:
        x: The first operands `[N]`, 0 to operands - 1.
        y: The second operands `[N]`.
        operands: n, the number of operands.
        encoding: How a pair becomes an input.

    Returns:
        `[N, ...]`.
    """
    pairs = np.stack([x, y], axis=1)
    if encoding == "tokens":
        operator, equals = np.full_like(x, operands), np.full_like(x, operands + 1)
        return np.stack([x, operator, y, equals], axis=1)
    if encoding == "scalar":
        return pairs / operands
    if encoding == "binary":
        return (pairs[:, :, None] >> _bit_positions(operands) & 1).reshape(len(x), -1)
    return np.eye(operands, dtype=np.float32)[pairs].reshape(len(x), -1)


def _width(operands: int, encoding: Encoding) -> int:
    """The number of values of an encoded pair."""
    bits = len(_bit_positions(operands))
    return {"one_hot": 2 * operands, "tokens": 4, "scalar": 2, "binary": 2 * bits}[encoding]


def _bit_positions(operands: int) -> np.ndarray:
    """The positions of an operand's bits, highest first."""
    return np.arange((operands - 1).bit_length())[::-1]


class Pairs(NamedTuple):
    """Pairs of operands, as they were read from inputs.

    Attributes:
        x: The first operands, `[N]`.
        y: The second operands, `[N]`.
        encoding: That of the inputs.
    """

    x: np.ndarray
    y: np.ndarray
    encoding: Encoding


def decode_pairs(inputs: np.ndarray, operands: int) -> Pairs:
    """The pairs that inputs encode, the inverse of `encode_pairs`, in whatever encoding.

    Args:
        inputs: `[N, ...]`.
        operands: n, the number of operands.

    Raises:
        InvalidValue: The inputs are not encoded pairs, or some pair occurs twice.
    """
    rows = inputs.reshape(len(inputs), -1)
    for encoding in typing.get_args(Encoding):
        pairs = _decode(rows, operands, encoding)
        if pairs is None or (pairs < 0).any() or (pairs >= operands).any():
            continue
        x, y = pairs.T
        encoded = encode_pairs(x, y, operands, encoding).astype(np.float32)
        if encoded.shape == inputs.shape and np.allclose(encoded, inputs, atol=1e-6):
            if len(np.unique(x * operands + y)) < len(x):
                raise InvalidValue("these are no table of an operation: some pair of operands comes twice")
            return Pairs(x, y, encoding)
    raise InvalidValue(
        f"inputs of shape {list(inputs.shape[1:])} are no pairs of {operands} operands as modular_arithmetic "
        "makes them, without normalize"
    )


def _decode(rows: np.ndarray, operands: int, encoding: Encoding) -> np.ndarray | None:
    """Pairs `[N, 2]` as rows in an encoding have them; None where the rows have another width."""
    if rows.shape[1] != _width(operands, encoding):
        return None
    if encoding == "one_hot":
        return rows.reshape(-1, 2, operands).argmax(-1)
    if encoding == "binary":
        return np.rint(rows.reshape(len(rows), 2, -1) @ 2.0 ** _bit_positions(operands)).astype(int)
    pairs = rows[:, [0, 2]] if encoding == "tokens" else rows * operands
    return np.rint(np.clip(pairs, -1, operands)).astype(int)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _nearest_prime(number: int, direction: int) -> int:
    """The nearest prime above (1) or below (-1) a number that is no prime."""
    while not _is_prime(number):
        number += direction
    return number
