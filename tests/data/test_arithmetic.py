"""Tables of operations against plain Python integers and dictionaries of permutations."""

import itertools

import numpy as np
import pytest

from nnlab.config.resolve import resolve
from nnlab.data.datasets.arithmetic import GROUP_OPERATIONS, MODULAR_OPERATIONS, decode_pairs, encode_pairs
from nnlab.errors import InvalidValue
from nnlab.registry import build

PRIMES = [2, 3, 7, 31, 97]

# by Python's own integers, one pair at a time
PLAIN = {
    "x+y": lambda x, y, p: (x + y) % p,
    "x-y": lambda x, y, p: (x - y) % p,
    "x*y": lambda x, y, p: x * y % p,
    "x/y": lambda x, y, p: next(z for z in range(p) if z * y % p == x),
    "mixed": lambda x, y, p: next(z for z in range(p) if z * y % p == x) if y % 2 else (x - y) % p,
    "x^2+y^2": lambda x, y, p: (pow(x, 2) + pow(y, 2)) % p,
    "x^2+x*y+y^2": lambda x, y, p: (pow(x, 2) + x * y + pow(y, 2)) % p,
    "x^2+x*y+y^2+x": lambda x, y, p: (pow(x, 2) + x * y + pow(y, 2) + x) % p,
    "x^3+x*y": lambda x, y, p: (pow(x, 3) + x * y) % p,
    "x^3+x*y^2+y": lambda x, y, p: (pow(x, 3) + x * pow(y, 2) + y) % p,
}
ELEMENTS = ["".join(letters) for letters in itertools.permutations("abcde")]


def after(first, second):
    """Permutations as words: where `abcde` goes when first one and then the other is applied."""
    moves_one, moves_other = (dict(zip("abcde", word, strict=True)) for word in (first, second))
    return "".join(moves_other[moves_one[letter]] for letter in "abcde")


def undone(word):
    back = {image: letter for letter, image in zip("abcde", word, strict=True)}
    return "".join(back[letter] for letter in "abcde")


PERMUTED = {
    "s5": after,
    "s5_conjugate": lambda x, y: after(after(x, y), undone(x)),
    "s5_aba": lambda x, y: after(after(x, y), x),
}


def load(**arguments):
    problems = []
    config = resolve("dataset", {"type": "modular_arithmetic", **arguments}, (), problems)
    assert problems == []
    return build("dataset", config).load(0)


def whole(**arguments):
    """Every pair, unshuffled: x, y and the answer."""
    data = load(split={"train": 1.0}, **arguments).train
    x, y, _ = decode_pairs(data.inputs, data.classes)
    order = np.lexsort([y, x])
    return data, x[order], y[order], data.targets[order]


def test_every_operation_is_computed_here():
    assert set(PLAIN) == set(MODULAR_OPERATIONS)
    assert set(PERMUTED) == set(GROUP_OPERATIONS)


@pytest.mark.parametrize("modulus", PRIMES)
@pytest.mark.parametrize("operation", PLAIN)
def test_modular_operations_equal_python_s_integers(operation, modulus):
    data, x, y, answers = whole(operation=operation, modulus=modulus, encoding="tokens")
    lowest = 1 if operation == "x/y" else 0
    pairs = [(a, b) for a in range(modulus) for b in range(lowest, modulus)]
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == pairs
    expected = [PLAIN[operation](a, b, modulus) for a, b in pairs]
    assert answers.tolist() == expected
    assert data.classes == modulus


@pytest.mark.parametrize("operation", PERMUTED)
def test_s5_equals_permuted_letters(operation):
    data, x, y, answers = whole(operation=operation, encoding="tokens")
    assert (len(data), data.classes) == (14_400, 120)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == 14_400
    expected = [PERMUTED[operation](ELEMENTS[a], ELEMENTS[b]) for a, b in zip(x, y, strict=True)]
    assert [ELEMENTS[answer] for answer in answers] == expected


def test_s5_is_a_group_and_does_not_commute():
    *_, answers = whole(operation="s5", encoding="tokens")
    table = answers.reshape(120, 120)
    np.testing.assert_array_equal(table[0], np.arange(120))
    assert all(sorted(row) == list(range(120)) for row in table.tolist())
    assert (table != table.T).any()


@pytest.mark.parametrize("encoding", ["one_hot", "tokens", "scalar", "binary"])
@pytest.mark.parametrize("operands", [3, 4, 5, 31, 97, 120, 128])
def test_encodings_are_undone(encoding, operands):
    x, y = (axis.reshape(-1) for axis in np.indices((operands, operands)))
    inputs = encode_pairs(x, y, operands, encoding).astype(np.float32)
    shapes = {"one_hot": 2 * operands, "tokens": 4, "scalar": 2, "binary": 2 * len(bin(operands - 1)[2:])}
    assert inputs.shape == (operands**2, shapes[encoding])
    found = decode_pairs(inputs, operands)
    assert found.encoding == encoding
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_array_equal(found.y, y)


def test_encodings_by_hand():
    x, y = np.array([3]), np.array([1])
    assert encode_pairs(x, y, 5, "one_hot").tolist() == [[0, 0, 0, 1, 0, 0, 1, 0, 0, 0]]
    assert encode_pairs(x, y, 5, "tokens").tolist() == [[3, 5, 1, 6]]
    assert encode_pairs(x, y, 5, "scalar").tolist() == [[0.6, 0.2]]
    assert encode_pairs(x, y, 5, "binary").tolist() == [[0, 1, 1, 0, 0, 1]]


@pytest.mark.parametrize("shape", [(7,), (4,), (3, 5), (62,), (2,)])
def test_other_inputs_are_no_pairs(shape):
    noise = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    with pytest.raises(InvalidValue, match="no pairs of 31 operands"):
        decode_pairs(noise, 31)


@pytest.mark.parametrize("encoding", ["one_hot", "tokens", "scalar", "binary"])
def test_a_scaled_or_repeated_table_is_no_table(encoding):
    x, y = (axis.reshape(-1) for axis in np.indices((7, 7)))
    inputs = encode_pairs(x, y, 7, encoding).astype(np.float32)
    with pytest.raises(InvalidValue, match="without normalize"):
        decode_pairs((inputs - inputs.mean(0)) / (inputs.std(0) + 0.1), 7)
    with pytest.raises(InvalidValue, match="comes twice"):
        decode_pairs(np.concatenate([inputs, inputs[:1]]), 7)


def test_the_split_is_seeded_and_covers_the_table():
    shares = {"train": 0.4, "validation": 0.6}
    data = load(modulus=31, split=shares, encoding="tokens")
    assert (len(data.train), len(data.validation)) == (384, 577)
    rows = np.concatenate([data.train.inputs, data.validation.inputs])
    assert len(np.unique(rows, axis=0)) == 961
    assert load(modulus=31, split=shares, encoding="tokens").hash == data.hash


@pytest.mark.parametrize(
    ("arguments", "at", "said"),
    [
        ({"modulus": 96}, "modulus", "96 is no prime; the nearest are 89 and 97"),
        ({"modulus": 4}, "modulus", "the nearest are 3 and 5"),
        ({"modulus": 9409}, "modulus", "9409 is no prime"),
        ({"modulus": 1009}, "encoding", "encoding: tokens, 4 values a pair"),
        ({"operation": "s5", "modulus": 96}, None, None),  # S5 has none
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(arguments, at, said):
    problems = []
    resolve("dataset", {"type": "modular_arithmetic", **arguments}, (), problems)
    assert [problem.path for problem in problems] == ([(at,)] if at else [])
    assert all(said in problem.message for problem in problems)
