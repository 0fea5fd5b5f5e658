"""A value chosen by folds, on tables with a known answer, with controls, and on tables that do not fit."""

import numpy as np
import pandas
import pytest
from support import FakeSweep, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.selection.chosen_by_folds import ChosenByFolds
from nnlab.registry import build

FOLD, WIDTH = "data.split.fold", "model.width"


def swept(curves, seeds=1):
    """A sweep of widths and folds: width -> a curve of the validation loss for each fold (and seed)."""
    trials, parts = [], []
    for width, of_width in curves.items():
        for number, curve in enumerate(of_width):
            name = f"t{len(trials) * 7 % 101:03}"  # the order of the names is not that of the folds
            row = {"trial": name, WIDTH: width, FOLD: number // seeds, "seed": number % seeds}
            trials.append(row | {"status": "complete"})
            losses = np.asarray(curve, float)
            table = {"trial": name, "epoch": np.arange(len(curve)), "validation_loss": losses}
            part = pandas.DataFrame(table).assign(validation_accuracy=1 - losses)
            parts.append(part.assign(test_loss=1 / (1 + losses), test_accuracy=losses / 9))
    table = pandas.DataFrame(trials).sample(frac=1, random_state=0).reset_index(drop=True)
    return FakeSweep(table, {"metrics": pandas.concat(parts)}, [FOLD, WIDTH])


def found(sweep, **arguments):
    phenomenon = build("phenomenon", {"type": "chosen_by_folds", "along": WIDTH} | arguments)
    numbers = phenomenon.summarize(sweep)
    assert tuple(numbers) == phenomenon.fields
    return numbers


CURVES = {
    16: [[9, 3, 1, 5], [9, 5, 3, 6], [9, 4, 2, 4]],  # best after 2 epochs: 1, 3, 2
    2: [[9, 8, 7, 6], [9, 8, 8, 7], [9, 8, 7, 8]],  # after 3, 3 and 2, the mean 2.67: 6, 7, 8
    64: [[9, 2.5, 5, 5], [9, 2.5, 4, 6], [9, 2.5, 3, 4]],  # after 1: 2.5 each
}


@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_the_numbers_of_three_widths(metric):
    numbers = found(swept(CURVES), metric=metric)
    losses = ChosenByFolds(
        folds=3,
        chosen=16,
        best_epoch=2,
        at_end=0,
        chosen_score=pytest.approx(2),
        chosen_error=pytest.approx(1 / np.sqrt(3)),
        worst=2,
        worst_score=pytest.approx(7),
        gain=pytest.approx(5),
        gain_error=pytest.approx(np.std([5, 4, 6], ddof=1) / np.sqrt(3)),
        smallest_within_error=16,
        at_edge=False,
    )._asdict()
    if metric == "validation_accuracy":
        losses |= {name: pytest.approx(1 - losses[name].expected) for name in ("chosen_score", "worst_score")}
    assert numbers == losses


def test_differences_are_on_the_same_fold():
    """Folds that differ by much say the same of every width: the gain is sure where the scores are not."""
    curves = {width: [[99, fold + gap] for fold in (0, 5, 10, 15)] for width, gap in ((2, 1), (4, 0))}
    numbers = found(swept(curves))
    assert (numbers["chosen"], numbers["gain"], numbers["gain_error"]) == (4, 1, 0)
    assert numbers["chosen_error"] == pytest.approx(np.std([0, 5, 10, 15], ddof=1) / 2)
    assert numbers["smallest_within_error"] == 2


def test_a_narrower_net_is_as_good_within_the_error():
    curves = {4: [[9, 2.5]] * 3, 8: [[9, 2.2]] * 3, 16: [[9, 1], [9, 2], [9, 3]], 32: [[9, 2.4]] * 3}
    numbers = found(swept(curves))
    assert (numbers["chosen"], numbers["at_edge"]) == (16, False)
    assert numbers["smallest_within_error"] == 4, "2.5 is less than 2 and 0.58"
    curves[4] = [[9, 2.6]] * 3
    assert found(swept(curves))["smallest_within_error"] == 8


@pytest.mark.parametrize("best", [2, 32])
def test_a_control_that_is_best_at_an_end(best):
    curves = {width: [[9, abs(np.log2(width / best))]] * 2 for width in (2, 4, 8, 32)}
    numbers = found(swept(curves))
    assert (numbers["chosen"], numbers["at_edge"], numbers["at_end"]) == (best, True, 2)


def test_a_control_in_which_all_widths_are_alike():
    numbers = found(swept({width: [[9, 1], [9, 3]] for width in (2, 4, 8)}))
    assert (numbers["chosen"], numbers["worst"], numbers["smallest_within_error"]) == (2, 2, 2)
    assert (numbers["gain"], numbers["gain_error"]) == (0, 0)


def test_folds_of_several_seeds_are_all_counted():
    curves = {2: [[9, 4], [9, 6], [9, 5], [9, 5]], 4: [[9, 1], [9, 2], [9, 3], [9, 6]]}
    numbers = found(swept(curves, seeds=2))
    assert (numbers["folds"], numbers["chosen_score"]) == (2, 3)
    assert numbers["gain_error"] == pytest.approx(np.std([3, 4, 2, -1], ddof=1) / 2)


@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_test_examples_choose_nothing(metric):
    """The choice is the same with the test columns turned upside down, and without them."""
    sweep = swept(CURVES)
    numbers = found(sweep, metric=metric)
    table, names = sweep.tables["metrics"], ["test_loss", "test_accuracy"]
    turned = table.assign(**{name: -table[name].to_numpy()[::-1] for name in names})
    for other in (turned, table.drop(columns=names)):
        assert found(FakeSweep(sweep.trials, {"metrics": other}, sweep.axes), metric=metric) == numbers


def without(sweep, **where):
    gone = np.logical_and.reduce([sweep.trials[name] == value for name, value in where.items()])
    return FakeSweep(sweep.trials[~gone], sweep.tables, sweep.axes)


def at(fold, width):
    return {FOLD: fold, WIDTH: width}


UNFIT = {
    "a fold of one width": (
        lambda: without(swept(CURVES), **at(1, 16)),
        "at model.width 16: fold 1 is missing",
    ),
    "its last fold": (
        lambda: without(swept(CURVES), **at(2, 2)),
        "at model.width 2: fold 2 of seed 0 is missing",
    ),
    "a seed of one width": (
        lambda: without(swept({2: [[9, 4]] * 4, 4: [[9, 1]] * 4}, seeds=2), **{WIDTH: 4, "seed": 1}),
        "at model.width 4: fold 0 of seed 1 is missing",
    ),
    "a fold of all": (lambda: without(swept(CURVES), **{FOLD: 0}), "at model.width 2: fold 0 is missing"),
    "one width": (lambda: swept({2: CURVES[2]}), "two values of 'model.width' or more; there are 1"),
    "one fold": (lambda: swept({2: [[9, 1]], 4: [[9, 2]]}), "two folds or more; there are 1"),
    "no number": (
        lambda: swept(CURVES | {4: [[9, np.nan]] * 3}),
        "model.width 4 the validation loss is not finite",
    ),
}


@pytest.mark.parametrize(("sweep", "said"), UNFIT.values(), ids=UNFIT)
def test_what_cannot_choose_is_refused(sweep, said):
    with pytest.raises(InvalidValue) as caught:
        found(sweep())
    assert said in str(caught.value)


@pytest.mark.parametrize("status", ["diverged", "failed", "interrupted", ""])
def test_every_trial_must_have_come_to_its_end(status):
    sweep = swept(CURVES)
    sweep.trials.loc[(sweep.trials[WIDTH] == 64) & (sweep.trials[FOLD] == 1), "status"] = status
    with pytest.raises(InvalidValue, match="width 64: fold 1 has not come to its end"):
        found(FakeSweep(sweep.trials, sweep.tables, sweep.axes))


def test_folds_are_not_chosen_from():
    with pytest.raises(InvalidValue, match="they cannot be chosen from"):
        build("phenomenon", {"type": "chosen_by_folds", "along": FOLD})


@pytest.mark.parametrize(("metric", "sign"), [("validation_loss", 1), ("validation_accuracy", -1)])
def test_the_figure_marks_the_choice_and_says_it(metric, sign):
    phenomenon = build("phenomenon", {"type": "chosen_by_folds", "along": WIDTH, "metric": metric})
    figure = phenomenon.figures["chosen_by_folds"]([swept(CURVES)])
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.get_lines()}
    (bars,) = ax.containers
    means = np.array([7, 2, 2.5])
    scores = means if metric == "validation_loss" else 1 - means
    np.testing.assert_allclose(bars.lines[0].get_xydata(), np.transpose([[2, 16, 64], scores]))
    chosen = lines["chosen"].get_xydata()[0]
    assert chosen.tolist() == pytest.approx([16, scores[1]])
    bound = lines["one standard error worse"].get_ydata()[0]
    assert bound == pytest.approx(scores[1] + sign / np.sqrt(3))
    assert title_of(ax) == "sweep: width 16 is best by 3 folds, better than 2 by 5.00 ± 0.58"


def test_the_figure_says_that_the_choice_is_at_an_end():
    phenomenon = build("phenomenon", {"type": "chosen_by_folds", "along": WIDTH})
    figure = phenomenon.figures["chosen_by_folds"]([swept({2: [[9, 2]] * 2, 4: [[9, 1]] * 2})])
    assert title_of(figure.axes[0]).endswith("; at an end, more values are to be tried")
