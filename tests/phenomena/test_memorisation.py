"""Memorisation of random labels: its verdict on planted curves, given and refused."""

import numpy as np
import pandas
import pytest
from support import FakeSweep, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.generalization.memorisation import detect
from nnlab.registry import build

NOISE = "data.label_noise"
EPOCHS = np.arange(0, 61)


def sweep_of(fitted, test, classes=10, train_end=1.0):
    """Three seeds for each share of random labels.

    fitted, test: share -> first epoch without a training error (None for never), and last test accuracy.
    """
    rows, parts = [], []
    for share in fitted:
        for seed in range(3):
            trial = f"{share}-{seed}"
            end = fitted[share] and fitted[share] + seed - 1  # the median seed has what is given
            train = np.minimum(0.9, EPOCHS / 60)
            if end is not None:
                train[end:] = train_end
            accuracies = {
                "train_accuracy": train,
                "test_accuracy": np.linspace(0.1, test[share], len(EPOCHS)),
            }
            table = pandas.DataFrame({"step": 10 * EPOCHS, "epoch": EPOCHS, "test_loss": 1.0, **accuracies})
            parts.append(table.assign(trial=trial))
            final = {
                "final.train_accuracy": train[-1],
                "final.test_accuracy": test[share],
                "final.test_loss": 1.0,
            }
            row = {"trial": trial, NOISE: share, "seed": seed, "status": "complete", "classes": classes}
            rows.append(row | final)
    return FakeSweep(pandas.DataFrame(rows), {"metrics": pandas.concat(parts)}, [NOISE])


def test_the_numbers_of_a_memorisation():
    found = detect(sweep_of({1.0: 45, 0.0: 9, 0.5: 40}, {0.0: 0.98, 0.5: 0.6, 1.0: 0.1}), NOISE)
    assert (found.true_epochs, found.random_epochs, found.epochs_ratio) == (9, 45, 5)
    assert (found.true_test_accuracy, found.random_test_accuracy, found.chance) == (0.98, 0.1, 0.1)
    assert (found.random_train_accuracy, found.verdict, found.reason) == (1.0, "memorisation", None)


@pytest.mark.parametrize(
    ("fitted", "test", "classes", "verdict"),
    [
        ((10, 30), (0.9, 0.15), 10, "memorisation"),
        ((10, 29), (0.9, 0.15), 10, "none"),  # hardly later
        ((10, 30), (0.9, 0.16), 10, "none"),  # better than chance
        ((10, 30), (0.9, 0.5), 2, "memorisation"),  # that is chance
        ((10, None), (0.9, 0.1), 10, "none"),
        ((None, None), (0.9, 0.1), 10, "none"),
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(fitted, test, classes, verdict):
    sweep = sweep_of(
        dict(zip((0.0, 1.0), fitted, strict=True)), dict(zip((0.0, 1.0), test, strict=True)), classes
    )
    found = detect(sweep, NOISE)
    assert found.verdict == verdict
    assert (found.epochs_ratio is None) == (None in fitted)
    assert ("never has all training examples right" in (found.reason or "")) == (None in fitted)


def test_almost_all_right_is_not_by_heart():
    sweep = sweep_of({0.0: 10, 1.0: 40}, {0.0: 0.9, 1.0: 0.1}, train_end=0.999)
    assert detect(sweep, NOISE).random_epochs is None


def test_one_share_alone_is_refused():
    with pytest.raises(InvalidValue, match="compares two values"):
        detect(sweep_of({1.0: 40}, {1.0: 0.1}), NOISE)


def test_its_figure_has_a_line_for_each_share():
    built = build("phenomenon", "memorisation")
    sweep = sweep_of({0.0: 9, 0.5: 40, 1.0: 45}, {0.0: 0.98, 0.5: 0.6, 1.0: 0.1})
    assert tuple(name for name in built.summarize(sweep) if name != "reason") == built.fields
    train, test = built.figures["memorisation"]([sweep]).axes
    assert "random labels are by heart after 45 epochs, 5.0 times as many" in title_of(train)
    assert (len(train.get_lines()), len(test.get_lines())) == (3, 3)
