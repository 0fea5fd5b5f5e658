"""Voting and cross-validation on tables with a known answer, with controls, and on tables that do not fit."""

import numpy as np
import pandas
import pytest
from support import FakeSweep, run_nnlab, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.selection.cross_validation import CrossValidation
from nnlab.phenomena.selection.voting import Voting, read_ballot
from nnlab.registry import build

FOLD = "data.split.fold"


def summarized(kind, sweep, **arguments):
    """The detector's numbers, and its figure's axes."""
    phenomenon = build("phenomenon", {"type": kind} | arguments)
    numbers = phenomenon.summarize(sweep)
    assert tuple(numbers) == phenomenon.fields
    return numbers, phenomenon.figures[kind]([sweep])


# --- voting ------------------------------------------------------------------------------------------------


def members(outputs, labels, classes=None, test="test"):
    """A sweep of seeds whose test outputs are `[S, N, K]`; training outputs, all wrong, must not count."""
    outputs = np.asarray(outputs, float)
    seeds, examples, width = outputs.shape
    targets = np.eye(max(width, classes or 2))[labels][:, -width:]
    parts = []
    for seed in range(seeds):
        table = {
            "trial": f"t{seed}",
            "example": np.repeat(np.arange(examples), width),
            "output": np.tile(np.arange(width), examples),
            "target": targets.reshape(-1),
        }
        test_rows = pandas.DataFrame(table | {"split": test, "prediction": outputs[seed].reshape(-1)})
        parts += [test_rows, test_rows.assign(split="train", target=0.0, prediction=9.0)]
    trials = pandas.DataFrame({"trial": [f"t{seed}" for seed in range(seeds)], "status": "complete"})
    shuffled = pandas.concat(parts).sample(frac=1, random_state=0)
    return FakeSweep(trials.assign(seed=range(seeds)), {"predictions": shuffled})


def sure(said, classes=3, logit=5.0):
    """Outputs `[S, N, K]` of members that name these classes, `[S, N]`."""
    return logit * np.eye(classes)[np.asarray(said)]


def test_the_numbers_of_three_that_err_in_different_places():
    said = [[1, 1, 2, 0], [0, 2, 2, 0], [0, 1, 0, 1]]
    numbers, _ = summarized("voting", members(sure(said), [0, 1, 2, 0], classes=3))
    assert Voting(**numbers) == Voting(
        members=3,
        median_error=0.25,
        best_error=0.25,
        worst_error=0.5,
        majority_error=0.0,
        averaged_error=0.0,
        majority_gain=0.25,
        averaging_gain=0.25,
    )


def test_a_control_that_errs_in_the_same_places():
    said = [[1, 1, 2, 0]] * 3
    numbers, _ = summarized("voting", members(sure(said), [0, 1, 2, 0], classes=3))
    assert (numbers["majority_error"], numbers["averaged_error"]) == (0.25, 0.25)
    assert (numbers["majority_gain"], numbers["averaging_gain"]) == (0, 0)


def test_one_that_is_sure_outweighs_the_mean_but_not_the_majority():
    outputs = [[[0.0, 9.0]], [[0.1, 0.0]], [[0.1, 0.0]]]
    numbers, _ = summarized("voting", members(outputs, [0]))
    assert (numbers["majority_error"], numbers["averaged_error"]) == (0, 1)
    numbers, _ = summarized("voting", members(outputs, [1]))
    assert (numbers["majority_error"], numbers["averaged_error"]) == (1, 0)


@pytest.mark.parametrize(("logits", "right"), [([2.0, 3.0], 1), ([3.0, 2.0], 0)])
def test_of_equally_many_the_more_probable_is_named(logits, right):
    outputs = [[[logits[0], 0.0, 0.0]], [[0.0, logits[1], 0.0]]]
    numbers, _ = summarized("voting", members(outputs, [right], classes=3))
    assert numbers["majority_error"] == 0


def test_a_tie_is_between_those_that_were_named():
    """Two name the classes 0 and 1, the third is likely to all, so that on average it is first."""
    outputs = np.log([[[0.5, 0.02, 0.48]], [[0.03, 0.49, 0.48]]])
    numbers, _ = summarized("voting", members(outputs, [0], classes=3))
    assert (numbers["majority_error"], numbers["averaged_error"]) == (0, 1)


def test_one_output_is_the_logit_of_the_second_class():
    logits = np.array([[2.0, -1.0, 0.5], [-1.0, -1.0, 0.1], [-0.5, 3.0, -9.0]])
    numbers, _ = summarized("voting", members(logits[..., None], [1, 0, 1]))
    mean = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(read_ballot(members(logits[..., None], [1, 0, 1])).probabilities[..., 1], mean)
    assert numbers["best_error"] == 0
    assert numbers["majority_error"] == pytest.approx(1 / 3), "two of three say no to the first"
    assert numbers["averaged_error"] == np.mean((mean.mean(0) > 0.5) != np.array([1, 0, 1]))


def test_great_outputs_do_not_overflow():
    outputs = [[[1e30, 0.0]], [[0.0, 1e30]], [[-1e30, 1e30]]]
    numbers, _ = summarized("voting", members(outputs, [1]))
    assert (numbers["majority_error"], numbers["averaged_error"]) == (0, 0)


def test_against_numpy_on_random_outputs():
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 400)
    outputs = 1.5 * np.eye(5)[labels] + random.normal(size=(7, 400, 5))
    numbers, figure = summarized("voting", members(outputs, labels, classes=5))
    powers = np.exp(outputs)
    probability = powers / powers.sum(-1, keepdims=True)
    named = []
    for example in range(400):
        counts = np.bincount(outputs[:, example].argmax(-1), minlength=5)
        tied = np.flatnonzero(counts == counts.max())
        named.append(max(tied, key=lambda c: probability[:, example, c].mean()))
    alone = (outputs.argmax(-1) != labels).mean(-1)
    assert numbers["majority_error"] == np.mean(np.array(named) != labels)
    assert numbers["averaged_error"] == np.mean(probability.mean(0).argmax(-1) != labels)
    assert numbers["median_error"] == np.median(alone)
    assert min(numbers["majority_gain"], numbers["averaging_gain"]) > 0.05

    (ax,) = figure.axes
    curves = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    assert curves["majority"][:, 0].tolist() == list(range(1, 8))
    assert curves["majority"][0, 1] == pytest.approx(100 * alone.mean()), "of single ones the mean"
    assert curves["majority"][-1, 1] == pytest.approx(100 * numbers["majority_error"])
    assert curves["mean probability"][-1, 1] == pytest.approx(100 * numbers["averaged_error"])
    pairs = [probability[[i, (i + 1) % 7]].mean(0).argmax(-1) for i in range(7)]
    assert curves["mean probability"][1, 1] == pytest.approx(100 * np.mean(np.array(pairs) != labels))
    np.testing.assert_allclose(np.sort(curves["each alone"][:, 1]), 100 * np.sort(alone))


COMPLETE = sure([[0, 1], [1, 1]])


def changed(column, value, where):
    sweep = members(COMPLETE, [0, 1], classes=3)
    table = sweep.tables["predictions"]
    table.loc[(table["split"] == "test") & where(table), column] = value
    return sweep


UNFIT = {
    "one member": (lambda: members(COMPLETE[:1], [0, 1], classes=3), "two complete trials"),
    "no test set": (lambda: members(COMPLETE, [0, 1], classes=3, test="validation"), "needs test examples"),
    "another test set a seed": (
        lambda: changed("target", 1.0, lambda t: (t["trial"] == "t1") & (t["example"] == 0)),
        "one test set for all seeds",
    ),
    "a test set of another size": (
        lambda: changed("split", "train", lambda t: (t["trial"] == "t1") & (t["example"] == 0)),
        "one test set for all seeds",
    ),
    "a hole": (
        lambda: changed("split", "train", lambda t: (t["output"] == 1) & (t["example"] == 0)),
        "one test set for all seeds",
    ),
    "values": (lambda: changed("target", 0.3, lambda t: t["output"] == 0), "values to regress"),
    "two classes at once": (lambda: changed("target", 1.0, lambda t: t["output"] == 0), "values to regress"),
}


def test_words_cannot_vote():
    sweep = members(COMPLETE, [0, 1], classes=3)
    sweep.tables["predictions"] = sweep.tables["predictions"].astype({"prediction": str})
    with pytest.raises(InvalidValue, match="no numbers 'prediction'"):
        summarized("voting", sweep)


@pytest.mark.parametrize(("sweep", "said"), UNFIT.values(), ids=UNFIT)
def test_what_cannot_vote_is_refused(sweep, said):
    with pytest.raises(InvalidValue) as caught:
        summarized("voting", sweep())
    assert said in str(caught.value)


# --- cross-validation --------------------------------------------------------------------------------------


def folded(curves, epochs=None, seeds=1, folds=None):
    """A sweep of folds, with a curve of the validation loss each."""
    rows, parts = [], []
    for number, curve in enumerate(curves):
        fold = number // seeds if folds is None else folds[number]
        rows.append({"trial": f"t{number}", FOLD: fold, "seed": number % seeds, "status": "complete"})
        records = {"trial": f"t{number}", "epoch": epochs or np.arange(len(curve)), "validation_loss": curve}
        parts.append(pandas.DataFrame(records).assign(validation_accuracy=1 - np.array(curve, float)))
    return FakeSweep(pandas.DataFrame(rows), {"metrics": pandas.concat(parts)}, [FOLD])


CURVES = [[9, 4, 2, 3, 5, 6], [9, 3, 4, 5, 6, 7], [9, 8, 7, 5, 1, 6]]  # best after 2, 1 and 4 epochs


@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_the_numbers_of_three_folds(metric):
    numbers, _ = summarized("cross_validation", folded(CURVES), metric=metric)
    losses = CrossValidation(
        folds=3,
        best_epoch=pytest.approx(7 / 3),
        best_epoch_std=pytest.approx(np.std([2, 1, 4], ddof=1)),
        score=pytest.approx(2),
        score_std=pytest.approx(1),
        chosen_score=pytest.approx((2 + 4 + 7) / 3),  # at epoch 2, the nearest to 2.33
        last_score=pytest.approx(19 / 3),
        at_end=0,
    )
    if metric == "validation_loss":
        assert numbers == losses._asdict()
    else:
        assert (numbers["best_epoch"], numbers["at_end"]) == (losses.best_epoch, 0)
        for name in ("score", "chosen_score", "last_score"):
            assert 1 - numbers[name] == getattr(losses, name)


def test_of_equal_records_the_first_is_the_best_one():
    numbers, _ = summarized("cross_validation", folded([[3, 1, 1, 2], [3, 1, 2, 1]]))
    assert (numbers["best_epoch"], numbers["best_epoch_std"]) == (1, 0)


def test_a_control_that_is_best_at_the_end():
    numbers, _ = summarized("cross_validation", folded([[3, 2, 1], [4, 2, 0]]))
    assert (numbers["best_epoch"], numbers["best_epoch_std"], numbers["at_end"]) == (2, 0, 2)
    assert numbers["score"] == numbers["chosen_score"] == numbers["last_score"] == 0.5


def test_epochs_need_not_be_whole_nor_evenly_spaced():
    numbers, _ = summarized("cross_validation", folded([[3, 1, 2, 2], [3, 2, 2, 1]], [0, 0.5, 4, 12.5]))
    assert numbers["best_epoch"] == 6.5
    assert numbers["chosen_score"] == 2


def test_a_fold_that_was_stopped_early_counts_with_its_last_record():
    numbers, figure = summarized("cross_validation", folded([[3, 1, 2], [6, 5, 4, 3, 2, 1, 9]]))
    assert numbers["best_epoch"] == 3
    assert numbers["chosen_score"] == (2 + 3) / 2
    assert numbers["last_score"] == (2 + 9) / 2
    mean = next(line for line in figure.axes[0].get_lines() if line.get_label() == "mean")
    assert mean.get_xydata().tolist() == [[0, 4.5], [1, 3], [2, 3]], "as long as all go on"


def test_folds_of_several_seeds_are_all_counted():
    numbers, _ = summarized("cross_validation", folded([*CURVES, CURVES[0]], seeds=2))
    assert numbers["folds"] == 2
    assert numbers["best_epoch"] == (2 + 1 + 4 + 2) / 4


@pytest.mark.parametrize(
    ("folds", "seeds", "said"),
    [
        ([0, 1, 3], 1, "fold 2 is missing"),
        ([1, 2, 3], 1, "fold 0 is missing"),
        ([0.5, 0, 2], 1, "fold 1 is missing"),
        ([0, 0, 1], 2, "fold 1 is missing"),
        ([0, 0, 0], 3, "two folds or more; there are 1"),
    ],
)
def test_every_fold_must_be_there(folds, seeds, said):
    with pytest.raises(InvalidValue, match=said):
        summarized("cross_validation", folded(CURVES, folds=folds, seeds=seeds))


@pytest.mark.parametrize("status", ["diverged", "failed", "interrupted", ""])
def test_every_fold_must_have_come_to_its_end(status):
    sweep = folded(CURVES)
    sweep.trials.loc[1, "status"] = status
    with pytest.raises(InvalidValue, match="fold 1 has not come to its end"):
        summarized("cross_validation", FakeSweep(sweep.trials, sweep.tables, sweep.axes))


def test_values_have_no_accuracy():
    sweep = folded(CURVES)
    sweep.tables["metrics"] = sweep.tables["metrics"].drop(columns="validation_accuracy")
    with pytest.raises(InvalidValue, match="no numbers 'validation_accuracy'"):
        summarized("cross_validation", sweep, metric="validation_accuracy")


def test_the_figure_has_a_line_a_fold_and_says_the_epoch():
    _, figure = summarized("cross_validation", folded(CURVES))
    (ax,) = figure.axes
    lines = ax.get_lines()
    for line, curve in zip(lines, CURVES, strict=False):
        np.testing.assert_array_equal(line.get_ydata(), curve)
    assert lines[3].get_xydata().tolist() == [[2, 2], [1, 3], [4, 1]], "the minima"
    np.testing.assert_allclose(lines[4].get_ydata(), np.mean(CURVES, axis=0))
    assert lines[5].get_xdata() == pytest.approx([7 / 3] * 2)
    assert title_of(ax).startswith("sweep: best after 2.33")
    assert title_of(ax).endswith("validation loss 4.33, by 3 folds")


# --- sweeps that they are not seen in ----------------------------------------------------------------------

SWEPT = """\
name: swept
data: {type: xor, examples: 60}
model: [{type: dense, units: 4}, relu, {type: dense, units: 2}]
train: {steps: 4}
"""
SEEN = "record: {every: {steps: 2}, predictions: true}"
REFUSED = {
    "voting without a sweep": (f"{SEEN}\nphenomena: [§voting]", "add a 'sweep:' block"),
    "voting without predictions": ("phenomena: [§voting]\nsweep: {seeds: 3}", "predictions: true"),
    "voting beside an axis": (
        f"{SEEN}\nphenomena: [§voting]\nsweep: {{axes: {{model.0.units: [2, 4]}}, seeds: 3}}",
        "voting is seen along seeds alone; 'model.0.units' varies too",
    ),
    "cross-validation without folds": (
        "phenomena: [§cross_validation]\nsweep: {seeds: 3}",
        "'data.split.fold' is no axis of the sweep; its axes are none",
    ),
    "cross-validation by a misspelt metric": (
        "phenomena: [{type: cross_validation, §metric: validation_los}]\nsweep: {seeds: 3}",
        "validation_loss",
    ),
}


@pytest.mark.parametrize(("lines", "said"), REFUSED.values(), ids=REFUSED)
def test_a_sweep_without_what_they_need_is_one_line(lines, said, folder, marked):
    text, (place,) = marked(SWEPT + lines + "\n")
    (folder / "swept.yaml").write_text(text)
    result = run_nnlab("sweep", "swept.yaml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"swept.yaml:{place}: ")
    assert said in line
