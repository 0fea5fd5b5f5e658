"""What float32 makes one number, against differences that are known."""

import numpy as np
import pytest

from nnlab.data.examples import Source, classification_examples, regression_examples
from nnlab.data.precision import merged_values
from nnlab.data.prepare import prepare
from nnlab.data.transforms import min_max, standardize, whiten
from nnlab.errors import InvalidValue

SECONDS = 1_690_000_000 + np.arange(60.0)
RANDOM = np.random.default_rng(0)


def loaded(inputs, targets=None, names=(), **keys):
    inputs = np.asarray(inputs, np.float64)
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    labels = np.arange(len(inputs)) % 2
    examples = (
        classification_examples(inputs, labels)
        if targets is None
        else regression_examples(inputs, np.asarray(targets))
    )
    object.__setattr__(examples, "feature_names", names)
    return prepare(Source(lambda _: (examples, None), train_on_all=True), **keys).load(0)


@pytest.mark.parametrize(
    "values",
    [
        RANDOM.standard_normal(1_000_000),
        RANDOM.lognormal(0, 3, 1_000_000),
        RANDOM.normal(1013, 8, 1_000_000),
        np.where(RANDOM.random(1000) < 0.9, 0.0, RANDOM.standard_normal(1000)),
        np.arange(2.0**24 - 99, 2.0**24),
        np.full(9, 0.1),
        [0.1],
        SECONDS.astype(np.float32),
    ],
)
def test_ordinary_columns_lose_nothing(values):
    assert merged_values(np.asarray(values)[:, None]) == []


def test_of_many_columns_those_are_found_that_lose():
    columns = RANDOM.standard_normal((60, 500))
    columns[:, 7], columns[:, 300] = SECONDS, 5e7 + RANDOM.random(60)
    assert [each.column for each in merged_values(columns.reshape(60, 50, 10))] == [7, 300]


def test_seconds_are_refused_as_they_are_and_kept_when_scaled():
    with pytest.raises(InvalidValue, match=r"column 'time' .* 1690000000 and 1690000001 .*: standardize"):
        loaded(SECONDS, names=("time",))
    with pytest.raises(InvalidValue, match=r"feature 0 after normalize .*standardize keeps") as caught:
        loaded(
            np.stack([SECONDS, np.zeros(60)], 1), normalize=lambda train: standardize(train, together=True)
        )
    assert caught.value.at == ("normalize",)
    for transform in (standardize, min_max, whiten):
        data = loaded(SECONDS, normalize=transform)
        assert len(np.unique(data.train.inputs)) == 60
        assert data.notes == ()


def test_a_value_far_from_the_others_is_named_as_the_cause():
    seconds = np.where(np.arange(60) == 7, 0.0, SECONDS)
    for keys in ({}, {"normalize": standardize}):
        with pytest.raises(InvalidValue, match="far from the others"):
            loaded(seconds, **keys)


def test_targets_lose_too():
    inputs = np.arange(60.0)
    with pytest.raises(InvalidValue, match=r"target 1 .* subtract"):
        loaded(inputs, np.stack([inputs, SECONDS], 1))
    assert loaded(inputs, SECONDS - SECONDS[0]).notes == ()


def test_whole_numbers_beyond_float64_are_refused():
    nanoseconds = 1_690_000_000_000_000_000 + 1024 * np.arange(60)
    labels = np.arange(60) % 2
    np.testing.assert_array_equal(
        classification_examples(nanoseconds[:, None], labels).inputs[:, 0], nanoseconds
    )
    for wrong in (nanoseconds + 1, np.full(60, 2**63 - 1)):
        with pytest.raises(InvalidValue, match=f"^{wrong[0]} has more digits than float64 keeps"):
            classification_examples(wrong[:, None], labels)


def test_small_losses_are_noted():
    numbers = RANDOM.integers(10**9, 10**10, 10_000)
    (note,) = loaded(numbers).notes
    first, second = (int(word) for word in note.split() if word.isdigit() and len(word) > 9)
    assert np.float32(first) == np.float32(second)
    assert first < second
    assert {first, second} <= set(numbers.tolist())
    assert len(loaded(np.stack([numbers] * 5, 1)).notes) == 4


@pytest.mark.parametrize("values", [[0.0, 1e-46, 2e-46], [1e-40, 2e-40, 3e-40]])
def test_what_is_too_small_for_float32_is_refused_and_kept_when_scaled(values):
    with pytest.raises(InvalidValue, match=r"feature 0 loses .* normalize: standardize keeps them apart"):
        loaded([[value] for value in values])
    with pytest.raises(InvalidValue, match=r"target 0 loses .* scale them"):
        loaded([[0.0], [1.0], [2.0]], values)
    exact = np.array(values)
    scaled = loaded([[value] for value in values], normalize=standardize).train
    wanted = (exact - exact.mean()) / exact.std()
    np.testing.assert_allclose(scaled.inputs[np.argsort(scaled.rows), 0], wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -3e-7])
@pytest.mark.parametrize("count", [3, 49, 1000])
def test_a_constant_feature_becomes_0_though_its_mean_is_rounded(value, count):
    inputs = np.full((count, 2), value)
    np.testing.assert_array_equal(standardize(inputs)(inputs), 0)
    np.testing.assert_array_equal(standardize(inputs, together=True)(inputs), 0)
