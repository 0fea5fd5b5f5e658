"""Forgetting: from tables of which the answer is known, and on two tasks of wine."""

import pandas
import pytest
from support import FakeRun, assert_labelled, experiment_of, panels_of, title_of, trained

from nnlab.errors import InvalidValue
from nnlab.phenomena.continual.forgetting import detect
from nnlab.registry import build


def run_of(matrix, split="test", label="planted"):
    """A run with these accuracies: a row for the end of each turn, a column for each task."""
    rows = [(0, 1, split, task, 0.1) for task in range(1, len(matrix[0]) + 1)]
    for current, accuracies in enumerate(matrix, 1):
        for step, share in ((10 * current - 5, 0.5), (10 * current, 1.0)):
            rows += [(step, current, split, task, share * value) for task, value in enumerate(accuracies, 1)]
            rows += [(step, current, "train", task, 1.0) for task in range(1, len(accuracies) + 1)]
    table = pandas.DataFrame(rows, columns=["step", "current_task", "split", "task", "accuracy"])
    return FakeRun({"tasks": table}, {}, label)


@pytest.mark.parametrize(
    ("matrix", "numbers", "verdict"),
    [
        ([[0.9, 0.0], [0.2, 0.95]], (0.9, 0.2, 0.95), "catastrophic"),
        ([[1.0, 0, 0], [0.9, 0.8, 0], [0.8, 0.7, 0.9]], (0.9, 0.75, 0.9), "partial"),
        ([[0.9, 0.0], [0.9, 0.1]], (0.9, 0.9, 0.1), "none"),
        ([[0.6, 0.0], [0.8, 0.9]], (0.6, 0.8, 0.9), "none"),
    ],
)
@pytest.mark.parametrize("split", ["test", "validation"])
def test_what_is_left_of_earlier_tasks(matrix, numbers, verdict, split):
    found = detect(run_of(matrix, split))
    assert (found.learnt_accuracy, found.kept_accuracy, found.last_accuracy) == pytest.approx(numbers)
    assert found.drop == pytest.approx(numbers[0] - numbers[1])
    assert (found.verdict, found.reason) == (verdict, None)


def test_what_was_not_learnt_cannot_be_forgotten():
    found = detect(run_of([[0.3, 0.0], [0.0, 0.9]]))
    assert (found.verdict, found.drop) == (None, pytest.approx(0.3))
    assert found.reason == "of the earlier tasks 30 % is learnt, too little to be forgotten"


def test_a_training_that_ends_in_the_second_of_three_turns():
    matrix = [[0.9, 0, 0], [0.4, 0.8, 0]]
    found = detect(run_of(matrix))
    assert (found.learnt_accuracy, found.kept_accuracy, found.last_accuracy) == pytest.approx((0.9, 0.4, 0.8))
    with pytest.raises(InvalidValue, match="one task at most was trained on"):
        detect(run_of(matrix[:1]))


def test_the_curves_of_runs():
    draw = build("phenomenon", "forgetting").figures["forgetting"]
    three = run_of([[1.0, 0, 0], [0.9, 0.8, 0], [0.8, 0.7, 0.9]], label="three")
    figure = draw([run_of([[0.9, 0.0], [0.2, 0.95]]), three])
    assert_labelled(figure)
    first, second = panels_of(figure)
    assert "planted: most is forgotten, 90 % before and 20 % after" in title_of(first)
    assert [line.get_linestyle() for line in second.lines] == ["-", "-", "-", ":", ":"]
    assert [line.get_xdata()[0] for line in second.lines[3:]] == [10, 20]


@pytest.mark.parametrize(("replay", "verdict"), [(0, "catastrophic"), (60, "partial")])
def test_digits_that_are_not_seen_any_more_are_forgotten(replay, verdict):
    exp = experiment_of(
        {
            "name": "t",
            "data": {
                "type": "digits",
                "normalize": {"type": "min_max"},
                "limit": 500,
                "tasks": {
                    "type": "by_class",
                    "classes": [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]],
                    "replay": replay,
                },
            },
            "model": [{"type": "dense", "units": 32}, "relu", {"type": "dense", "units": 10}],
            "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1},
            "train": {"steps": 400},
            "record": {"every": {"steps": 100}, "layers": False},
        }
    )
    found = detect(FakeRun({"tasks": pandas.DataFrame(trained(exp)[0]["tasks"])}, {}))
    assert found.verdict == verdict
    assert found.last_accuracy > 0.8
