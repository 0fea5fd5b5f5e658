"""Verdicts in words: what holds, what fails and why, and what cannot be judged yet."""

import pickle

import pytest

import nnlab

TREE = {
    "name": "judged",
    "data": "xor",
    "model": [{"type": "dense", "units": 2}],
    "train": {"steps": 1},
    "phenomena": ["gradient_flow"],
}
EXPECT = {"expect": {"gradient_flow.decay_per_layer": {"max": 1}}}


def verdicts(tmp_path, status, numbers, **changes):
    config = nnlab.experiment(TREE | changes)
    return nnlab.Run(tmp_path, config, {"status": status, "gradient_flow": numbers}, {}).check()


@pytest.mark.parametrize(
    ("status", "numbers", "words", "holds"),
    [
        ("complete", {"decay_per_layer": 0.5}, "holds", True),
        ("diverged", {"decay_per_layer": 0.5}, "holds", True),
        ("complete", {"decay_per_layer": 2.0, "reason": "of another one"}, "FAILS", False),
        ("complete", {"decay_per_layer": None, "reason": "a single layer"}, "FAILS: a single layer", False),
        ("complete", {}, "FAILS", False),
        ("interrupted", {"decay_per_layer": 0.5}, "not yet", False),
        ("running", {}, "not yet", False),
    ],
)
def test_a_verdict_in_words(tmp_path, status, numbers, words, holds):
    found = verdicts(tmp_path, status, numbers, **EXPECT)
    assert [row[-1] for row in found.rows()] == [words]
    assert bool(found) is holds
    assert f", {words}" in repr(found)
    assert pickle.loads(pickle.dumps(found)).rows() == found.rows()


@pytest.mark.parametrize(
    ("status", "holds"), [("complete", True), ("diverged", False), ("interrupted", False)]
)
def test_where_nothing_is_expected_only_a_complete_run_is_as_expected(tmp_path, status, holds):
    assert bool(verdicts(tmp_path, status, {})) is holds
