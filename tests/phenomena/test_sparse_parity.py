"""What is learnt all at once: its verdict on planted curves, and its figure."""

import numpy as np
import pandas
import pytest
from support import FakeRun, assert_labelled, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.generalization.sparse_parity import detect
from nnlab.registry import build

STEPS = [0, 50, 100, 110, 120, 130]


def run_of(accuracies, steps=STEPS, classes=2, split="test"):
    metrics = {"step": steps, f"{split}_accuracy": accuracies, f"{split}_loss": 1.0}
    return FakeRun({"metrics": pandas.DataFrame(metrics)}, {"classes": classes})


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_numbers_of_a_parity(split):
    found = detect(run_of([0.5, 0.52, 0.91, 0.98, 0.99, 1.0], split=split))
    assert found == (100, 0.52, 120, 1.2, 0.5, 1.0, "all at once", None)


@pytest.mark.parametrize(
    ("accuracies", "classes", "verdict", "reason"),
    [
        ([0.5, 0.6, 0.9, 0.95, 0.95, 0.99], 2, "all at once", None),
        ([0.5, 0.601, 0.9, 0.95, 0.95, 0.99], 2, "gradual", None),  # half-way it was known in part
        ([0.5, 0.6, 0.9, 0.95, 0.95, 0.99], 4, "gradual", None),
        ([0.5, 0.5, 0.9, 0.95, 0.95, 0.98], 2, "gradual", "the held-out accuracy never reaches 99 %"),
        ([0.5, 0.5, 0.899, 0.89, 0.89, 0.89], 2, "not learnt", "the held-out accuracy never reaches 90 %"),
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(accuracies, classes, verdict, reason):
    found = detect(run_of(accuracies, classes=classes))
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (found.steps_ratio is None) == (reason is not None)


@pytest.mark.parametrize(("last", "verdict"), [(130, "all at once"), (131, "gradual")])
def test_from_ninety_to_ninety_nine_it_takes_three_tenths_of_the_time(last, verdict):
    assert detect(run_of([0.5, 0.5, 0.9, 0.99], [0, 50, 100, last])).verdict == verdict


def test_what_is_known_from_the_start_is_not_learnt_at_once():
    assert detect(run_of([1.0] * 6)).verdict == "gradual"


def test_what_it_cannot_see_is_said():
    with pytest.raises(InvalidValue, match="two records or more"):
        detect(run_of([0.5], [0]))
    with pytest.raises(InvalidValue, match="does not say how many classes"):
        detect(run_of([0.5] * 6)._replace(summary={}))


def test_its_figure_marks_the_step_and_says_what_was_found():
    draw = build("phenomenon", "sparse_parity").figures["sparse_parity"]
    learnt, other = run_of([0.5, 0.52, 0.91, 0.98, 0.99, 1.0]), run_of([0.5] * 6)
    figure = draw([learnt])
    (ax,) = figure.axes
    assert_labelled(figure)
    assert "all at once: 90 % at step 100, 52 % at half that time" in title_of(ax)
    np.testing.assert_array_equal([line.get_xdata()[0] for line in ax.get_lines()[1:]], [100, 50])
    (ax,) = draw([learnt, other]).axes
    assert "not learnt, 50 % in the end" in title_of(ax)
    assert len(ax.get_lines()) == 2
