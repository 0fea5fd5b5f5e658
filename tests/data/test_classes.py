"""Classes: kept by number or name, without examples, alone; and the rows that examples come from."""

import numpy as np
import pytest

from nnlab.data.examples import Loaded, Source, classification_examples, regression_examples
from nnlab.data.prepare import prepare
from nnlab.data.splits import Split
from nnlab.errors import InvalidValue

NAMES = ("cat", "2", "dog", "1")


def part(labels, classes=None, names=()):
    labels = np.array(labels)
    return classification_examples(np.arange(len(labels), dtype=np.float32)[:, None], labels, classes, names)


def loaded(*parts, seed=0, **keys):
    return prepare(Source(lambda _: Loaded(*parts)), **keys).load(seed)


def test_classes_are_kept_by_name_or_number():
    labels = np.arange(80) % 4
    for kept, numbers in ((["dog", "cat"], [2, 0]), ([0, "1"], [0, 3]), (["2", 0], [1, 0])):
        data = loaded(part(labels, 4, NAMES), keep_classes=kept)
        assert data.train.class_names == tuple(NAMES[number] for number in numbers)
        for split in data.splits.values():
            np.testing.assert_array_equal(labels[split.rows], np.array(numbers)[split.targets])


@pytest.mark.parametrize(
    ("names", "kept", "said", "place"),
    [
        (NAMES, ["cat", "dgo"], "no class 'dgo'; did you mean 'dog'", 1),
        (NAMES, ["zebra"], "no class 'zebra'; there are 'cat', '2', 'dog' and '1'", 0),
        (NAMES, [0, "cat"], r"class 0 \('cat'\) twice", 1),
        (NAMES, [0, 2], "class 2 is called 'dog', another one '2'; write", 1),
        (NAMES, [4], "no class 4; this data set's are 0 to 3", 0),
        ((), ["cat"], "have no names; they are 0 to 3", 0),
    ],
)
def test_classes_that_are_not_there_are_refused(names, kept, said, place):
    with pytest.raises(InvalidValue, match=said) as caught:
        loaded(part(np.arange(80) % 4, 4, names), keep_classes=kept)
    assert caught.value.at == ("keep_classes", place)


def test_one_class_alone_is_refused():
    with pytest.raises(InvalidValue, match=r"all 30 examples are of class 1 \('spam'\)"):
        loaded(part([1] * 30, 2, ("ham", "spam")))
    with pytest.raises(InvalidValue, match="nothing to tell apart"):
        loaded(part(np.arange(80) % 4), keep_classes=[3])
    loaded(part([0] * 30), reconstruct=True)
    loaded(part([0] * 30, 2), part([1] * 9, 2))
    with pytest.raises(InvalidValue, match="no test example of these classes"):
        loaded(part(np.arange(80) % 4), part([0, 1], 4), keep_classes=[2, 3])


def test_classes_without_examples_are_noted():
    data = loaded(part(1 + np.arange(60) % 3), split=Split(train=0.5, test=0.5))
    assert data.notes == ("no example is of class 0; keep_classes: [1, 2, 3] leaves it out",)
    data = loaded(part([0, 1] * 20, 3, ("a", "b", "c")), part([2, 1], 3, ("a", "b", "c")))
    assert data.notes == ("no training example is of class 2 ('c')",)
    assert loaded(part([0, 1, 2] * 20)).notes == ()
    (note,) = loaded(part(np.repeat([0, 999], 50))).notes
    assert note.startswith("no example is of class 1, class 2, class 3, class 4, class 5 or 993 more; keep")


def test_targets_that_do_not_vary_are_noted():
    targets = np.stack([np.arange(40.0), np.full(40, 2.5)], 1)
    source = Source(lambda _: (regression_examples(np.arange(40.0)[:, None], targets), None))
    assert prepare(source).load(0).notes == ("target 1 of all training examples is 2.5",)


@pytest.mark.parametrize(
    ("split", "name", "words"),
    [
        (
            {"validation": 0.004, "train": 0.9},
            "validation",
            "at least 0.01, .* such as 1, and train less .* 250 examples",
        ),
        ({"validation": 0.2, "test": 0.001}, "test", r"0.001 of 100 examples comes to none; .* such as 1 \("),
    ],
)
def test_a_share_that_comes_to_no_example_is_refused(split, name, words):
    with pytest.raises(InvalidValue, match=words) as caught:
        loaded(part(np.arange(100) % 2), split=Split(**split))
    assert caught.value.at == ("split", name)
    assert len(loaded(part(np.arange(100) % 2), split=Split(validation=0.01)).validation) == 1


def test_rows_are_those_of_the_source():
    own = loaded(part(np.arange(50) % 2), part(np.arange(20) % 2))
    assert own.test.rows.tolist() == list(range(20))
    pooled = loaded(part(np.arange(50) % 2), part(np.arange(20) % 2), split=Split(test=0.5))
    rows = np.concatenate([each.rows for each in pooled.splits.values()])
    numbers = np.concatenate([each.inputs[:, 0] for each in pooled.splits.values()])
    assert sorted(rows.tolist()) == list(range(70))
    np.testing.assert_array_equal(np.where(rows < 50, rows, rows - 50), numbers)
