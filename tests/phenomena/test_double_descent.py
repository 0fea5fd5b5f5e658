"""Double descent: its detector on curves whose answer is known, its figures; judgement across a sweep."""

import json
import math

import numpy as np
import pandas
import pytest
from support import FakeSweep, run_nnlab, title_of

from nnlab import plotting
from nnlab.errors import InvalidValue, UsageError
from nnlab.phenomena.generalization.capacity_curve import CapacityCurve, read_capacity_curve
from nnlab.phenomena.generalization.double_descent import DoubleDescent, detect
from nnlab.registry import build
from nnlab.runs.expectations import sweep_verdicts
from nnlab.runs.figures import available, draw
from nnlab.runs.results import open_sweep

WIDTHS = [1, 2, 4, 8, 16, 32, 64, 128]
TRAIN = [0.50, 0.40, 0.30, 0.20, 0.05, 0.00, 0.00, 0.00]
TEXTBOOK = [0.50, 0.40, 0.35, 0.45, 0.60, 0.50, 0.35, 0.30]
MONOTONE = [0.50, 0.45, 0.40, 0.35, 0.32, 0.30, 0.29, 0.28]
CLASSICAL = [0.50, 0.40, 0.35, 0.36, 0.40, 0.45, 0.50, 0.60]
PEAK = [0.50, 0.40, 0.30, 0.45, 0.60, 0.50, 0.38, 0.34]


def table(values, seeds=1, spread=0.0):
    """`[seeds, points]`; spread: seeds lie so far above and below the values, in turns."""
    away = spread * np.array([(-1.0) ** seed for seed in range(seeds)])
    return np.asarray(values, float)[None] + (away - away.mean())[:, None]


def detected(test, train=TRAIN, *, x=WIDTHS, epsilon=0.1, statistic="mean", counts_examples=False):
    """What is detected in curves, each of one seed or `[seeds, points]`."""
    test, train = (np.atleast_2d(np.asarray(values, float)) for values in (test, train))
    train = np.broadcast_to(train, test.shape) if len(train) == 1 else train
    return detect(
        CapacityCurve(np.asarray(x, float), train, test, "error", counts_examples), epsilon, statistic
    )


# --- the detector ----------------------------------------------------------------------------------------


def test_the_numbers_of_a_textbook_curve():
    numbers = detected(TEXTBOOK)
    expected = DoubleDescent(
        metric="error",
        statistic="mean",
        epsilon=0.1,
        threshold=16,
        classical_minimum=0.35,
        classical_capacity=4,
        peak=0.60,
        peak_capacity=16,
        second_minimum=0.30,
        second_capacity=128,
        rise=0.25,
        prominence=0.25,
        second_descent=0.05,
        peak_at_threshold=True,
        peaks=1,
        descents=2,
        first_peak_capacity=16,
        first_peak_over_dip=2.0,
        last_peak_capacity=16,
        last_peak_over_dip=0.60 / 0.35,
        largest_rise=0.25 / 0.35,
        capacity="",
        verdict="double descent",
    )
    for name in DoubleDescent._fields:
        value = getattr(expected, name)
        near = pytest.approx(value) if isinstance(value, float) else value
        assert getattr(numbers, name) == near, name


@pytest.mark.parametrize("test", [MONOTONE, CLASSICAL, MONOTONE[::-1], [0.3] * 8])
@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_curve_without_a_second_fall_has_no_peak(test, statistic):
    numbers = detected(table(test, 4, 0.01), statistic=statistic)
    assert numbers.verdict == "none"
    assert numbers.peak_at_threshold is False
    lowest = int(np.argmin(test))
    assert numbers.classical_minimum == pytest.approx(min(test))
    assert numbers.classical_capacity == WIDTHS[lowest]
    assert numbers.threshold == 16


@pytest.mark.parametrize("test", [MONOTONE, CLASSICAL])
def test_without_a_peak_there_are_no_numbers_of_one(test):
    numbers = detected(test)
    assert (numbers.peak, numbers.peak_capacity, numbers.second_minimum) == (None, None, None)
    assert (numbers.rise, numbers.prominence, numbers.second_descent) == (0, 0, None)


def test_a_peak_that_does_not_come_back_below_is_a_peak():
    numbers = detected(PEAK)
    assert numbers.verdict == "peak"
    assert numbers.second_descent == pytest.approx(-0.04)
    assert numbers.rise == pytest.approx(0.30)
    assert numbers.prominence == pytest.approx(0.26), "above the higher of the two minima"
    assert numbers.peak_at_threshold is True
    below = [*PEAK[:-1], 0.299]
    assert detected(below).verdict == "double descent"


def bump(height, spread=0.0, seeds=1):
    """A fall to 0.4, a bump at 16, by `spread` more or less in every other seed, a fall to 0.3."""
    values = table([0.6, 0.5, 0.4, 0.4, 0.4, 0.38, 0.35, 0.3], seeds)
    values[:, 4] += height + spread * np.array([(-1.0) ** seed for seed in range(seeds)])
    return values


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize(("share", "verdict"), [(0.04, "none"), (0.06, "double descent")])
def test_a_bump_is_one_from_five_percent_of_the_classical_minimum(share, verdict, statistic):
    numbers = detected(bump(share * 0.4, seeds=4), statistic=statistic)
    assert numbers.verdict == verdict
    assert numbers.peak_at_threshold == (verdict != "none")
    assert numbers.rise == pytest.approx(share * 0.4)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.04, "none"), (0.06, "double descent")], ids=["shallow", "deep"]
)
def test_the_fall_beyond_counts_as_the_rise_before(share, verdict):
    """From a plateau at 0.6 only a little down again: the second side of the peak is the low one."""
    values = [0.5, 0.45, 0.4, 0.5, 0.6, 0.6 - share * 0.4, 0.6 - share * 0.4 + 1e-3, 0.6]
    assert detected(values).verdict == {"none": "none", "double descent": "peak"}[verdict]


@pytest.mark.parametrize(("spread", "verdict"), [(0.05, "double descent"), (0.2, "none")])
def test_a_bump_must_stand_out_of_the_noise_of_the_seeds(spread, verdict):
    """Four seeds: a standard error of spread * 2 / sqrt(3) / 2, against a rise of 0.1."""
    rises = bump(0.1, spread, 4)[:, 4] - 0.4
    error = rises.std(ddof=1) / 2
    assert (2 * error < 0.1) == (verdict != "none")
    assert detected(bump(0.1, spread, 4)).verdict == verdict


def test_the_noise_that_counts_is_that_of_the_rise():
    """Seeds that lie far apart but rise alike leave no doubt."""
    assert detected(table(TEXTBOOK, 4, 0.15)).verdict == "double descent"


def test_more_seeds_find_a_smaller_bump():
    assert detected(bump(0.05, 0.06, 4)).verdict == "none"
    assert detected(bump(0.05, 0.06, 40)).verdict == "double descent"


@pytest.mark.parametrize(("risen", "verdict"), [(8, "double descent"), (7, "double descent"), (5, "none")])
def test_a_median_asks_for_three_quarters_of_the_seeds(risen, verdict):
    values = bump(0.2, seeds=8)
    values[risen:, 4] = 0.3
    assert detected(values, statistic="median").verdict == verdict


def test_one_outlying_seed_moves_the_mean_and_not_the_median():
    quiet = table(MONOTONE, 9)
    quiet[0, 4] = 100.0
    assert detected(quiet, statistic="mean").peak == pytest.approx(100 / 9 + 0.32 * 8 / 9)
    assert detected(quiet, statistic="median").peak is None
    assert detected(quiet, statistic="mean").verdict == "none", "a single seed is no peak of the mean either"
    loud = table(TEXTBOOK, 9)
    loud[0, -1] = 100.0
    assert detected(loud, statistic="median").verdict == "double descent"
    assert detected(loud, statistic="median").second_minimum == pytest.approx(0.30)
    assert detected(loud, statistic="mean").second_minimum == pytest.approx(0.35)


def test_the_highest_of_several_peaks_is_the_one():
    twice = [0.5, 0.4, 0.48, 0.35, 0.6, 0.45, 0.5, 0.3]
    numbers = detected(twice)
    assert (numbers.peak_capacity, numbers.classical_capacity, numbers.second_capacity) == (16, 8, 128)


def test_the_peak_is_the_one_that_rises_highest_not_the_highest_point():
    falling = [0.9, 0.85, 0.86, 0.5, 0.65, 0.4, 0.35, 0.3]
    numbers = detected(falling)
    assert (numbers.peak, numbers.peak_capacity) == (0.65, 16)
    assert numbers.classical_minimum == 0.5


TWICE = [0.9, 0.5, 0.8, 0.3, 0.35, 2.0, 0.4, 0.2]


def test_two_peaks_and_three_descents():
    numbers = detected(TWICE)
    assert (numbers.peaks, numbers.descents) == (2, 3)
    assert (numbers.first_peak_capacity, numbers.last_peak_capacity) == (4, 32)
    assert numbers.first_peak_over_dip == pytest.approx(0.8 / 0.3)
    assert numbers.last_peak_over_dip == pytest.approx(2.0 / 0.3)
    assert numbers.largest_rise == pytest.approx(2.0 / 0.3 - 1)
    assert (numbers.peak, numbers.verdict) == (2.0, "double descent")


def test_a_curve_that_begins_low_has_as_many_descents_as_peaks():
    numbers = detected([0.4, *TWICE[1:]])
    assert (numbers.peaks, numbers.descents) == (2, 2)


@pytest.mark.parametrize(("second", "peaks"), [(0.31, 1), (0.33, 2)])
def test_a_second_peak_must_stand_out_as_the_first(second, peaks):
    """Above 0.3 by 5 % of it."""
    assert detected([0.9, 0.3, second, 0.3, 0.35, 2.0, 0.4, 0.2]).peaks == peaks


def test_a_second_peak_of_one_seed_is_none():
    values = table(TWICE, 4)
    values[1:, 2] = 0.4
    assert detected(values, statistic="median").peaks == 1


@pytest.mark.parametrize(
    ("test", "descents", "rise"), [(MONOTONE, 1, 0.0), (CLASSICAL, 1, 0.25 / 0.35), ([0.3] * 8, 0, 0.0)]
)
def test_without_a_peak_the_rise_is_that_of_the_curve(test, descents, rise):
    numbers = detected(test)
    assert (numbers.peaks, numbers.descents) == (0, descents)
    assert numbers.largest_rise == pytest.approx(rise)
    assert (numbers.first_peak_capacity, numbers.last_peak_over_dip) == (None, None)


def test_the_curve_of_the_best_penalty_is_the_lowest_at_each_capacity():
    curves = {0.0: [1.0, 0.5, 3.0, 0.4], 1.0: [1.1, 0.9, 0.8, 0.7], 9.0: [1.2, 1.2, 0.7, 1.2]}
    rows = [
        {"width": width, "solver.ridge": ridge, "seed": seed, "status": "complete"}
        | {"final.train_loss": ridge, "final.test_loss": values[place] + 0.01 * seed}
        for ridge, values in curves.items()
        for place, width in enumerate((1, 2, 4, 8))
        for seed in (0, 1)
    ]
    sweep = FakeSweep(pandas.DataFrame(rows), axes=["width", "solver.ridge"])
    curve = read_capacity_curve(sweep, "width", "loss")
    np.testing.assert_allclose(curve.test, [[1.0, 0.5, 0.7, 0.4], [1.01, 0.51, 0.71, 0.41]])
    np.testing.assert_allclose(curve.train[0], [0.0, 0.0, 9.0, 0.0])
    phenomenon = build(
        "phenomenon", {"type": "double_descent", "capacity": "width", "best_over": "solver.ridge"}
    )
    assert phenomenon.other_axes == ("solver.ridge",)
    assert list(phenomenon.figures) == ["double_descent"]
    assert phenomenon.summarize(sweep)["verdict"] == "double descent"


# --- threshold -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("epsilon", "threshold"), [(0.0, 32), (0.05, 16), (0.1, 16), (0.2, 8), (0.9, 1)])
def test_the_threshold_is_the_first_capacity_that_fits(epsilon, threshold):
    numbers = detected(TEXTBOOK, epsilon=epsilon)
    assert (numbers.threshold, numbers.epsilon) == (threshold, epsilon)


def test_of_numbers_of_examples_it_is_the_last_that_is_fitted():
    train = [0.0, 0.0, 0.0, 0.02, 0.08, 0.2, 0.3, 0.4]
    for epsilon, threshold in ((0.1, 16), (0.0, 4), (0.05, 8), (0.5, 128)):
        assert detected(TEXTBOOK, train, epsilon=epsilon, counts_examples=True).threshold == threshold
    assert detected(TEXTBOOK, train, counts_examples=False).threshold == 1


def test_data_that_are_never_fitted_have_no_threshold():
    numbers = detected(TEXTBOOK, [0.5] * 8)
    assert numbers.threshold is None
    assert numbers.verdict == "double descent"
    assert numbers.peak_at_threshold is False


@pytest.mark.parametrize(("fits_at", "near"), [(2, False), (3, True), (4, True), (5, True), (6, False)])
@pytest.mark.parametrize("counts_examples", [False, True])
def test_a_peak_is_at_the_threshold_within_one_step_of_the_grid(fits_at, near, counts_examples):
    train = [0.5] * fits_at + [0.0] * (8 - fits_at)
    if counts_examples:
        train = [0.0] * (fits_at + 1) + [0.5] * (7 - fits_at)
    numbers = detected(TEXTBOOK, train, counts_examples=counts_examples)
    assert numbers.threshold == WIDTHS[fits_at]
    assert numbers.peak_at_threshold is near


def test_a_bump_that_is_chance_is_not_at_the_threshold():
    assert detected(bump(0.005)).peak_at_threshold is False
    assert detected(bump(0.05)).peak_at_threshold is True


# --- gaps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_seed_that_is_missing_at_a_point_is_left_out_there(statistic):
    train, test = table(TRAIN, 3), table(TEXTBOOK, 3, 0.02)
    for seed, point in ((0, 4), (1, 2), (2, 7)):
        train[seed, point] = test[seed, point] = np.nan
    numbers = detected(test, train, statistic=statistic)
    assert numbers.verdict == "double descent"
    assert (numbers.peak_capacity, numbers.threshold) == (16, 16)
    assert numbers.peak == pytest.approx(np.nanmean(test[:, 4]))
    assert all(not isinstance(n, float) or math.isfinite(n) for n in numbers)


def test_no_seed_that_has_both_peak_and_minimum_is_no_evidence():
    test = table(TEXTBOOK, 2)
    test[0, 4] = test[1, 2] = np.nan
    assert detected(test).verdict == "none"
    test[1, 2] = 0.35
    assert detected(test).verdict == "double descent"


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_a_point_that_no_seed_has_is_passed_over(statistic):
    test = table(TEXTBOOK, 2)
    test[:, 3] = np.nan
    numbers = detected(test, statistic=statistic)
    assert (numbers.verdict, numbers.peak_capacity) == ("double descent", 16)


# --- read from a sweep -----------------------------------------------------------------------------------

BASE = """\
name: made
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {steps: 20}
"""
EPOCHS = np.array([0, 1, 2, 4, 8, 16])


def write_sweep(folder, test=TEXTBOOK, train=TRAIN, *, seeds=3, path="model.width", x=WIDTHS, classes=True,
         split="test", expect="{}", lost=(), capacity=None, name="made"):  # fmt: skip
    """A finished sweep directory over some path, its trials without their configs. lost: (seed, point) that
    diverged. Test loss is four times the error, and the error of a seed a little off the others'."""
    folder.mkdir()
    axes = f"axes: {{{path}: {json.dumps(x)}}}, " if path else ""
    (folder / "sweep.yaml").write_text(
        f"{BASE.replace('made', name)}sweep: {{{axes}seeds: {seeds}}}\nexpect: {expect}\n"
        f"phenomena: [{{type: double_descent, capacity: '{capacity or path}'}}]\n"
    )
    rows = []
    for point, value in enumerate(x if path else [None]):
        for seed in range(seeds):
            trial = f"t{point}x{seed}"
            gone = (seed, point) in lost
            row = {"trial": trial} | ({path: value} if path else {})
            row |= {"seed": seed, "status": "diverged" if gone else "complete", "reason": ""}
            off = 0.01 * seed
            final = {"train_loss": 4 * train[point], f"{split}_loss": 4 * (test[point] + off)}
            if classes:
                final |= {"train_accuracy": 1 - train[point], f"{split}_accuracy": 1 - test[point] - off}
            rows.append(row | {f"final.{name}": None if gone else number for name, number in final.items()})
            run = folder / "trials" / trial
            run.mkdir(parents=True)
            table = pandas.DataFrame({"step": 10 * EPOCHS, "epoch": EPOCHS})
            for name_, number in final.items():
                table[name_] = number + (0.1 / (1 + EPOCHS) if name_.endswith("loss") else 0)
            table.to_csv(run / "metrics.csv", index=False)
    pandas.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    (folder / "summary.json").write_text(
        json.dumps({"name": name, "status": "complete", "trials": len(rows)})
    )
    return open_sweep(folder)


def summarized(sweep, **arguments):
    phenomenon = build("phenomenon", {"type": "double_descent", "capacity": "model.width"} | arguments)
    return phenomenon.summarize(sweep)


def test_a_sweep_is_read_along_its_capacity(tmp_path):
    numbers = summarized(write_sweep(tmp_path / "made"))
    assert (numbers["metric"], numbers["threshold"], numbers["verdict"]) == ("error", 16, "double descent")
    assert numbers["peak"] == pytest.approx(0.61)
    assert numbers["classical_minimum"] == pytest.approx(0.36)


def test_its_order_in_the_file_does_not_matter(tmp_path):
    order = [5, 0, 7, 2, 4, 1, 6, 3]
    parts = ([values[i] for i in order] for values in (TEXTBOOK, TRAIN, WIDTHS))
    test, train, x = parts
    numbers = summarized(write_sweep(tmp_path / "shuffled", test, train, x=x))
    assert numbers == summarized(write_sweep(tmp_path / "made"))


def test_the_error_of_classes_and_the_loss_of_values(tmp_path):
    classes, values = write_sweep(tmp_path / "classes"), write_sweep(tmp_path / "values", classes=False)
    assert summarized(classes)["metric"] == "error"
    loss = summarized(classes, metric="loss")
    assert (loss["metric"], loss["peak"]) == ("loss", pytest.approx(4 * 0.61))
    assert loss["threshold"] == 32, "the train loss is below 0.1 later than the error"
    assert summarized(values)["metric"] == "loss"
    with pytest.raises(InvalidValue, match="no classes, so no error"):
        summarized(values, metric="error")


def test_without_a_test_split_it_is_the_validations(tmp_path):
    assert summarized(write_sweep(tmp_path / "validation", split="validation"))["verdict"] == "double descent"
    with pytest.raises(InvalidValue, match="no test split"):
        summarized(write_sweep(tmp_path / "none", split="other"))


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_points_are_no_curve(tmp_path, count):
    short = write_sweep(tmp_path / "short", TEXTBOOK[:count], TRAIN[:count], x=WIDTHS[:count])
    with pytest.raises(InvalidValue, match=f"three points or more; there are {count}"):
        summarized(short)
    three = write_sweep(tmp_path / "three", [0.4, 0.6, 0.3], [0.4, 0.0, 0.0], x=[1, 2, 3])
    assert summarized(three)["verdict"] == "double descent"


def test_diverged_trials_are_left_out(tmp_path):
    numbers = summarized(write_sweep(tmp_path / "some", lost=[(0, 4), (1, 2)]))
    assert numbers["verdict"] == "double descent"
    assert numbers["peak"] == pytest.approx(0.615)
    all_of_one = write_sweep(tmp_path / "all", lost=[(seed, 4) for seed in range(3)])
    assert summarized(all_of_one)["peak_capacity"] == 32


def test_an_axis_that_moves_the_capacity_with_another_path(tmp_path):
    both = write_sweep(tmp_path / "both", path='"data.limit, model.width"', capacity="model.width")
    text = (tmp_path / "both" / "trials.csv").read_text().replace('"""', '"')
    (tmp_path / "both" / "trials.csv").write_text(text)
    both = open_sweep(tmp_path / "both")
    assert both.axes == ["data.limit, model.width"]
    assert summarized(both)["peak_capacity"] == 16


def test_a_number_of_examples_is_a_falling_capacity(tmp_path):
    more = write_sweep(tmp_path / "more", TEXTBOOK, TRAIN[::-1], path="data.limit")
    assert read_capacity_curve(more, "data.limit", None).counts_examples
    numbers = summarized(more, capacity="data.limit")
    assert (numbers["threshold"], numbers["peak_capacity"]) == (8, 16)
    assert numbers["peak_at_threshold"] is True
    assert not read_capacity_curve(write_sweep(tmp_path / "widths"), "model.width", None).counts_examples


def by_epoch(folder, test, train):
    """A sweep of seeds whose errors go through these values at the epochs after the first record."""
    write_sweep(folder, [0.0], [0.0], path=None, capacity="epochs")
    for seed in range(3):
        file = folder / "trials" / f"t0x{seed}" / "metrics.csv"
        columns = {"test_accuracy": [0.0, *(1 - np.array(test) - 0.01 * seed)]}
        columns |= {"train_accuracy": [1.0, *(1 - np.array(train))]}
        pandas.read_csv(file).assign(**columns).to_csv(file, index=False)
    return open_sweep(folder)


def test_epochs_are_a_capacity(tmp_path):
    sweep = by_epoch(tmp_path / "epochs", [0.5, 0.3, 0.6, 0.4, 0.2], [0.5, 0.3, 0.05, 0.0, 0.0])
    numbers = summarized(sweep, capacity="epochs")
    assert (numbers["verdict"], numbers["peak_capacity"], numbers["threshold"]) == ("double descent", 4, 4)
    assert numbers["classical_capacity"] == 2, "the record before training does not count"
    assert numbers["peak"] == pytest.approx(0.61)
    even = by_epoch(tmp_path / "even", [0.5, 0.4, 0.3, 0.25, 0.2], [0.5, 0.3, 0.05, 0.0, 0.0])
    assert summarized(even, capacity="epochs")["verdict"] == "none"


@pytest.mark.parametrize("x", [["relu", "tanh", "square", "sigmoid"], [[1], [2], [3], [4]]])
def test_a_capacity_that_is_no_number_is_refused(tmp_path, x):
    with pytest.raises(UsageError, match=r"reads along numbers, and .model\.activation. has the value"):
        write_sweep(tmp_path / "words", x=x, path="model.activation")


# --- figures ---------------------------------------------------------------------------------------------


def draw_figures(sweeps, folder, *names):
    """The figures that come out, by name; pytest makes any warning an error."""
    return {path.stem: path for path in draw(sweeps, folder, names)}


def axes_of(sweeps, figure):
    with plotting.style():
        return available(sweeps)[figure](sweeps).axes


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("seeds", [1, 3])
def test_figures_of_a_sweep(tmp_path, classes, seeds):
    sweep = write_sweep(tmp_path / "made", classes=classes, seeds=seeds)
    paths = draw_figures([sweep], tmp_path / "plots")
    assert set(paths) == {"double_descent", "epochs_by_capacity"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values())


def test_the_curve_is_that_of_the_trials(tmp_path):
    error, loss = axes_of([write_sweep(tmp_path / "made")], "double_descent")
    lines = {line.get_label(): line for line in error.get_lines()}
    np.testing.assert_allclose(lines["test"].get_xdata(), WIDTHS)
    np.testing.assert_allclose(lines["test"].get_ydata(), 100 * (np.array(TEXTBOOK) + 0.01), rtol=1e-9)
    np.testing.assert_allclose(lines["training"].get_ydata(), 100 * np.array(TRAIN), atol=1e-9)
    assert lines["training error ≤ 10 %"].get_xdata()[0] == 16
    circles = {(line.get_xdata()[0], round(float(line.get_ydata()[0]), 6))
               for line in error.get_lines() if len(line.get_xdata()) == 1}  # fmt: skip
    assert circles == {(4, 36.0), (16, 61.0), (128, 31.0)}
    assert title_of(error) == "made: double descent, error peaks with 61 % at width = 16"
    assert "3 seeds" in error.get_ylabel()
    np.testing.assert_allclose(loss.get_lines()[0].get_ydata(), 4 * (np.array(TEXTBOOK) + 0.01), rtol=1e-9)


def test_values_have_no_panel_of_errors(tmp_path):
    (loss,) = axes_of([write_sweep(tmp_path / "made", classes=False)], "double_descent")
    assert loss.get_ylabel().startswith("mean ")


def test_without_a_peak_only_the_minimum_is_marked(tmp_path):
    error, _ = axes_of([write_sweep(tmp_path / "made", MONOTONE)], "double_descent")
    assert [line.get_xdata()[0] for line in error.get_lines() if len(line.get_xdata()) == 1] == [128]
    assert title_of(error) == "made: no double descent"


def test_diverged_trials_are_marked(tmp_path):
    error, _ = axes_of([write_sweep(tmp_path / "made", lost=[(0, 4), (2, 4), (1, 6)])], "double_descent")
    (lost,) = [line for line in error.get_lines() if line.get_label() == "diverged"]
    assert list(lost.get_xdata()) == [16, 16, 64]
    complete, _ = axes_of([write_sweep(tmp_path / "whole")], "double_descent")
    assert "diverged" not in [line.get_label() for line in complete.get_lines()]


def test_a_sweep_with_a_capacity_of_which_nothing_is_left_is_drawn(tmp_path):
    sweep = write_sweep(tmp_path / "made", lost=[(seed, 3) for seed in range(3)] + [(0, 4), (1, 4)])
    assert set(draw_figures([sweep], tmp_path / "plots")) == {"double_descent", "epochs_by_capacity"}


def test_several_sweeps_come_on_one_axes(tmp_path):
    sweeps = [write_sweep(tmp_path / "a"), write_sweep(tmp_path / "b", CLASSICAL, name="classical")]
    paths = draw_figures(sweeps, tmp_path / "plots")
    assert set(paths) == {"double_descent", "epochs_by_capacity"}
    error, _ = axes_of(sweeps, "double_descent")
    assert len([line for line in error.get_lines() if len(line.get_xdata()) == 8]) == 4


def test_epochs_have_a_curve_and_no_map(tmp_path):
    sweep = by_epoch(tmp_path / "epochs", [0.5, 0.3, 0.6, 0.4, 0.2], [0.5, 0.3, 0.05, 0.0, 0.0])
    assert set(draw_figures([sweep], tmp_path / "plots")) == {"double_descent"}


def test_sweeps_along_other_capacities_have_a_panel_each(tmp_path):
    by_width = write_sweep(tmp_path / "width")
    by_depth = write_sweep(tmp_path / "depth", PEAK, path="model.depth", name="deep")
    by_time = by_epoch(tmp_path / "epochs", [0.5, 0.3, 0.6, 0.4, 0.2], [0.5, 0.3, 0.05, 0.0, 0.0])
    for sweep, capacity in ((by_depth, "model.depth"), (by_time, "epochs")):
        sweep.summary["double_descent"] = dict(summarized(sweep, capacity=capacity))
    panels = axes_of([by_width, by_depth, by_time], "double_descent")
    assert [panel.get_xlabel().split(" ")[0] for panel in panels] == ["width", "depth", "epoch"]
    assert ["double descent, error peaks" in title_of(panel) for panel in panels] == [True, False, True]
    assert "peak, error peaks with 61 % at depth = 16" in title_of(panels[1])


def test_a_capacity_of_zero_is_drawn(tmp_path):
    sweep = write_sweep(tmp_path / "made", x=[0, 1, 2, 3, 4, 5, 6, 7], path="model.depth")
    assert "double_descent" in draw_figures([sweep], tmp_path / "plots")


def test_training_against_capacity_has_a_cell_for_each_epoch_and_width(tmp_path):
    chart, bar = axes_of([write_sweep(tmp_path / "made")], "epochs_by_capacity")
    (mesh,) = chart.collections
    assert mesh.get_array().shape == (len(EPOCHS) - 1, len(WIDTHS))
    np.testing.assert_allclose(mesh.get_array()[-1], 100 * (np.array(TEXTBOOK) + 0.01), rtol=1e-9)
    assert "test error" in bar.get_ylabel()


def test_fitted_functions_below_at_and_beyond(tmp_path):
    sweep = write_sweep(tmp_path / "made")
    for run in (tmp_path / "made" / "trials").iterdir():
        inputs = np.linspace(-1, 1, 20)
        split = ["train", "test"] * 10
        table = pandas.DataFrame({"split": split, "input": inputs, "target": inputs**2})
        table.assign(prediction=inputs**2 + int(run.name[1])).to_csv(run / "predictions.csv", index=False)
    paths = draw_figures([sweep], tmp_path / "plots")
    assert set(paths) == {"double_descent", "epochs_by_capacity", "fitted_functions"}
    panels = axes_of([sweep], "fitted_functions")
    assert [title_of(panel) for panel in panels] == [
        "below: 4 squared error 4",
        "at: 16 squared error 16",
        "beyond: 128 squared error 49",
    ]
    for panel, point in zip(panels, (2, 4, 7), strict=True):
        lines = {line.get_label(): line for line in panel.get_lines()}
        np.testing.assert_allclose(
            np.asarray(lines["fit"].get_ydata()) - lines["truth"].get_ydata(), point, rtol=1e-9
        )
        assert len(lines["training"].get_xdata()) == 10


# --- judgement across a sweep ----------------------------------------------------------------------------


def judge_expectations(folder, expect, change=None, **arguments):
    sweep = write_sweep(folder, expect=expect, **arguments)
    if change is not None:
        change(sweep.trials).to_csv(folder / "trials.csv", index=False)
    summary = json.loads((folder / "summary.json").read_text())
    summary["double_descent"] = dict(summarized(sweep))
    (folder / "summary.json").write_text(json.dumps(summary))
    return sweep_verdicts(open_sweep(folder))


def test_what_is_seen_across_the_sweep_has_one_number(tmp_path):
    expect = (
        "{double_descent.verdict: {equals: double descent}, "
        "double_descent.peak_at_threshold: {equals: true}, double_descent.rise: {min: 0.3}, "
        "status: {equals: complete}}"
    )
    verdicts = judge_expectations(tmp_path / "made", expect)
    assert [key for key, *_ in verdicts] == [
        "double_descent.verdict", "double_descent.peak_at_threshold", "double_descent.rise", "status",
    ]  # fmt: skip
    assert [value for _, _, value, _ in verdicts] == [
        "double descent", True, pytest.approx(0.25), "complete",
    ]  # fmt: skip
    assert [holds for *_, holds in verdicts] == [True, True, False, True]
    checked = run_nnlab("check", tmp_path / "made")
    assert checked.exit_code == 1
    assert checked.stdout.count("FAILS") == 1


def test_a_runs_number_must_hold_in_every_trial_and_the_worst_is_found(tmp_path):
    lowest, highest = 4 * 0.30, 4 * 0.62
    for number, (bound, worst, holds) in enumerate(
        [
            ("{max: 3}", highest, True),
            ("{max: 2.4}", None, False),
            ("{min: 1}", lowest, True),
            ("{min: 1.21}", lowest, False),
            ("{min: 1, max: 3}", None, True),
            ("{min: 1, max: 2.45}", None, False),
        ]
    ):
        ((key, _, value, verdict),) = judge_expectations(
            tmp_path / f"{number}", f"{{final.test_loss: {bound}}}"
        )
        assert key == "final.test_loss (every trial)"
        assert verdict is holds
        assert worst is None or value == pytest.approx(worst)
        if not holds:
            assert not (1.21 <= value <= 2.4), "what is shown is one that breaks the bound"
    assert number == 5


def test_the_one_furthest_off_is_shown_not_the_first(tmp_path):
    """Of the seeds at the peak, 2.40, 2.44 and 2.48, all break the bound."""
    ((*_, value, holds),) = judge_expectations(tmp_path / "made", "{final.test_loss: {max: 2.39}}")
    assert not holds
    assert value == pytest.approx(2.48)


def test_a_trial_that_lacks_the_number_breaks_the_bound(tmp_path):
    ((*_, value, holds),) = judge_expectations(tmp_path / "gap", "{final.test_loss: {max: 9}}", lost=[(1, 6)])
    assert not holds
    assert value is None or math.isnan(value)


def test_a_number_that_no_trial_has_breaks_the_bound(tmp_path):
    ((*_, value, holds),) = judge_expectations(tmp_path / "none", "{final.validation_loss: {max: 9}}")
    assert (value, holds) == (None, False)


@pytest.mark.parametrize(("wrong", "holds"), [(None, True), (7, False)])
def test_a_number_that_every_trial_must_equal(tmp_path, wrong, holds):
    def change(table):
        counts = [20] * len(table)
        counts[5] = wrong or 20
        return table.assign(parameters=counts)

    ((key, _, value, verdict),) = judge_expectations(tmp_path / "made", "{parameters: {equals: 20}}", change)
    assert (key, value, verdict) == ("parameters (every trial)", wrong or 20, holds)


def test_a_sweep_without_expectations_has_nothing_to_judge(tmp_path):
    assert judge_expectations(tmp_path / "made", "{}") == []
