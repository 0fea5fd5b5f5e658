"""Labels as files have them: what is a class, and what is none."""

import numpy as np
import pytest

from nnlab.data.examples import classification_examples
from nnlab.data.labels import number_labels
from nnlab.errors import InvalidValue

PRICES = np.round(np.random.default_rng(0).uniform(50, 500, 300), 2)


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([2, 0, 1, 2], [2, 0, 1, 2], ()),
        ([0.0, 1.0, 1.0], [0, 1, 1], ()),
        ([True, False], [1, 0], ()),
        ([-1, 1, -1], [0, 1, 0], ("-1", "1")),
        ([3.0, 26.0, 3.0], [0, 1, 0], ("3", "26")),
        ([0.5, 5.0, 0.5, 4.5] * 3, [0, 2, 0, 1] * 3, ("0.5", "4.5", "5")),
        (["so-so", "cat", "so-so"], [1, 0, 1], ("cat", "so-so")),
        ([b"cat", "hé".encode()], [0, 1], ("cat", "hé")),
        (["a", "A"], [1, 0], ("A", "a")),
        (["+", "-", "+"], [0, 1, 0], ("+", "-")),
        ([[1], [0], [1]], [1, 0, 1], ()),
        ([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [1, 0], ()),
        ([[False, True], [False, True]], [1, 1], ()),
        (list(range(40)), list(range(40)), ()),
        ([*range(20, 60)] * 2, [*range(40)] * 2, tuple(map(str, range(20, 60)))),
    ],
)
def test_labels_are_numbered_in_their_order(labels, numbers, names):
    found = number_labels(np.array(labels))
    assert found.numbers.tolist() == numbers
    assert found.names == names
    one_hot_classes = np.shape(labels)[-1] if np.ndim(labels) == 2 and np.shape(labels)[1] > 1 else 0
    assert found.classes == (one_hot_classes or max(numbers) + 1)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, np.nan, np.nan], r"example 2 .* is nan, .*\(2 such"),
        ([0, np.inf], "example 1 .* is inf"),
        ([[0.5, 0.5], [1.0, 0.0]], r"\[N, 2\], and no one-hot rows .* task: regression"),
        ([[0, 1], [1, 1]], "row 1 .* holds 2 ones"),
        ([[0, 1], [0, 0]], "row 1 .* holds 0 ones"),
        (np.zeros((4, 2, 2)), r"\[N, 2, 2\], and no one-hot"),
        ([b"\xff\xfe", b"a"], "no text in UTF-8"),
        (["cat", "dog", "cat "], "'cat' and 'cat ' differ in spaces"),
        (["Cat", "cat"], "'Cat' and 'cat' differ in spaces or capitals"),
        (PRICES, r"300 examples are \d{3} different numbers \(.*give task: regression"),
        (np.tile(PRICES, 9), "give task: regression"),
        (np.round(PRICES * 1e3), "give task: regression"),
        ([0.25, 1.5, 2.75], "give task: regression"),
        (np.repeat(np.arange(150) * 7, 9), "give task: regression"),
        (np.arange(10_001), "10,001 different values, .*task: regression"),
        (["cat", "", "cat"], "is '', which is no class"),
        (["cat", "nan", "cat"], "is 'nan', which is no class"),
        (["1", "2", "?", "1"], r"a label is '\?', and most are numbers"),
        ([f"name {n}" for n in range(20)], "20 examples are 20 different texts, such as 'name 0'"),
        ([str(n) for n in range(10_001)] * 2, "10,001 different values, and 10,000 is the most$"),
    ],
)
def test_what_is_no_class_is_refused(labels, said):
    with pytest.raises(InvalidValue, match=said):
        number_labels(np.array(labels))


def test_a_table_has_told_gaps_from_words():
    assert number_labels(np.array(["nan", "cat", "nan"], object)).names == ("cat", "nan")


def test_a_number_far_above_the_others_is_no_class():
    inputs = np.zeros((3, 2))
    with pytest.raises(InvalidValue, match="label 10000 makes 10,001 classes, and 10,000 is the most"):
        classification_examples(inputs, np.array([0, 1, 10_000]))
    assert classification_examples(inputs, np.array([0, 1, 9_999])).classes == 10_000
