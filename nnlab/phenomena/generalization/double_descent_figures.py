"""Figures of double descent: curves against capacity, training against capacity, and fitted functions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepView, loss_label, refuse_sparse_grid, sweep_column
from nnlab.phenomena.generalization.capacity_curve import (
    EPOCHS,
    CapacityCurve,
    Metric,
    Statistic,
    default_metric,
    metric_values,
    read_capacity_curve,
    reduce_seeds,
    reported_error_split,
)
from nnlab.phenomena.generalization.peak_factors import cause_of_peak
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.phenomena.generalization.double_descent import DoubleDescent

HEAT_MAP_LIMIT_FACTOR = 1.1  # of the colours over the worst final value; early training is far worse
MINIMUM_UNMARKED_POINTS = 60  # a curve of fewer points has markers
NORMAL_95_PERCENT = 1.96  # standard errors


def curves_by_capacity(sweeps: Sequence[SweepView], detected: Sequence[DoubleDescent]) -> Figure:
    """Train and test error and loss against capacity, with a band over seeds; one colour per sweep.

    Sweeps along different capacities have a panel each.
    """
    capacity, statistic = detected[0].capacity, detected[0].statistic
    if any(numbers.capacity != capacity for numbers in detected):
        return _kinds_of_capacity(sweeps, detected)
    metrics: list[Metric] = ["loss"]
    if all("final.train_accuracy" in sweep.completed_trials for sweep in sweeps):
        metrics.insert(0, "error")
    figure, axes = plotting.panels(1, len(metrics), 3.6)
    for ax, metric in zip(axes[0], metrics, strict=True):
        test_values: list[float] = []
        looks = zip(plotting.colours(len(sweeps)), plotting.markers(len(sweeps)), strict=True)
        for sweep, (colour, marker) in zip(sweeps, looks, strict=True):
            curve = read_capacity_curve(sweep, capacity, metric, statistic)
            test_values += _draw_curve(ax, curve, statistic, marker, colour if len(sweeps) > 1 else None)
            if len(sweeps) == 1:
                _mark_findings(ax, sweep, curve, detected[0], capacity)
        _label_axes(ax, sweeps, capacity, metric, statistic)
        _limit_y_axis(ax, metric, test_values)
    words = _in_words(capacity)
    captions = [f"{s.label}: {finding(d, words)}" for s, d in zip(sweeps, detected, strict=True)]
    if len(sweeps) == 1:
        cause = _cause(sweeps[0], detected[0])
        axes[0][0].set_title(plotting.title(f"{captions[0]}{cause}", len(metrics)))
        plotting.legend(axes[0][0], loc="best")
        return figure
    plotting.colour_legend(figure, captions, plotting.HELD_OUT_KEY, plotting.markers(len(sweeps)))
    return figure


def _kinds_of_capacity(sweeps: Sequence[SweepView], detected: Sequence[DoubleDescent]) -> Figure:
    """The detector's metric of each sweep against its own capacity; one panel per sweep."""
    numbers_of = dict(zip(map(id, sweeps), detected, strict=True))

    def draw(ax: Axes, sweep: SweepView) -> str:
        numbers = numbers_of[id(sweep)]
        curve = read_capacity_curve(sweep, numbers.capacity, numbers.metric, numbers.statistic)
        test_values = _draw_curve(ax, curve, numbers.statistic, "o", None)
        _mark_findings(ax, sweep, curve, numbers, numbers.capacity)
        _label_axes(ax, [sweep], numbers.capacity, numbers.metric, numbers.statistic)
        _limit_y_axis(ax, numbers.metric, test_values)
        return f"{sweep.label}: {finding(numbers, _in_words(numbers.capacity))}"

    figure, axes = plotting.panel_per_result(sweeps, draw, across=3, height=3.6)
    plotting.legend_below(figure, axes[0])
    return figure


def _in_words(capacity: str) -> str:
    return "epoch" if capacity == EPOCHS else name_in_words(capacity)


def _cause(sweep: SweepView, detected: DoubleDescent) -> str:
    """What the trials' factors say of the peak, or of why there is none; empty where they say nothing."""
    if detected.capacity == EPOCHS:
        return ""
    peak = detected.peak_capacity if detected.verdict != "none" else None
    trials, axis = sweep.completed_trials, sweep_column(sweep, detected.capacity)
    cause = cause_of_peak(trials, axis, peak, detected.classical_capacity)
    return f"; {cause}" if cause else ""


def finding(detected: DoubleDescent, capacity: str) -> str:
    """The verdict and where the peak is: `double descent, error peaks with 54.7 % at width = 56`; of several
    peaks, where the first and the last are."""
    if detected.peak is None or detected.verdict == "none":
        return "no double descent"
    if detected.peaks > 1:
        places = f"the first at {capacity} = {detected.first_peak_capacity:g}, the last at"
        peaks = f"{detected.metric} has {detected.peaks} peaks, {places} {detected.last_peak_capacity:g}"
        return f"{detected.descents} descents, {peaks}"
    scale = _scale(detected.metric)
    height = plotting.scientific(scale * detected.peak) + (" %" if scale > 1 else "")
    where = f"at {capacity} = {detected.peak_capacity:g}"
    return f"{detected.verdict}, {detected.metric} peaks with {height} {where}"


def _draw_curve(
    ax: Axes, curve: CapacityCurve, statistic: Statistic, marker: str, colour: plotting.Colour | None
) -> list[float]:
    """Draw test and train metric, in one colour if given, and return the finite test values."""
    scale = _scale(curve.metric)
    marker = marker if len(curve.capacities) < MINIMUM_UNMARKED_POINTS else ""
    test_values: list[float] = []
    for split, values, style in ((curve.split, curve.test, "-"), ("train", curve.train, "--")):
        middle, low, high = (scale * part for part in _band(values, statistic))
        shade, label = colour or plotting.SPLIT_COLOURS[split], name_in_words(split)
        ax.plot(curve.capacities, middle, style, color=shade, marker=marker, markersize=3, label=label)
        if len(values) > 1:
            ax.fill_between(curve.capacities, low, high, color=shade, alpha=0.18, linewidth=0)
        test_values += middle[np.isfinite(middle)].tolist() if split == curve.split else []
    return test_values


def _band(values: np.ndarray, statistic: Statistic) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle, low and high over the seeds: the mean and its 95 % interval, or median and quartiles."""
    if statistic == "median":
        low, middle, high = (
            reduce_seeds(values, functools.partial(np.quantile, q=share)) for share in (0.25, 0.5, 0.75)
        )
        return middle, low, high
    middle = reduce_seeds(values, np.mean)
    half_width = reduce_seeds(values, _half_interval)
    return middle, middle - half_width, middle + half_width


def _half_interval(values: np.ndarray) -> float:
    """Half of the mean's 95 % interval; 0 of a single value."""
    return NORMAL_95_PERCENT * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _mark_findings(
    ax: Axes, sweep: SweepView, curve: CapacityCurve, detected: DoubleDescent, capacity: str
) -> None:
    """Mark the threshold by a line, minima and peak of the detector's metric by points, and diverged trials
    by crosses."""
    scale = _scale(detected.metric)
    if detected.threshold is not None:
        bound = plotting.scientific(scale * detected.epsilon) + (" %" if scale > 1 else "")
        label = f"training {detected.metric} ≤ {bound}"
        ax.axvline(detected.threshold, color="#555555", linestyle=":", linewidth=1.2, label=label)
    points = [(detected.classical_capacity, detected.classical_minimum)]
    for x, y in (
        (detected.peak_capacity, detected.peak),
        (detected.second_capacity, detected.second_minimum),
    ):
        if detected.verdict != "none" and x is not None and y is not None:
            points.append((x, y))
    for x, y in points if curve.metric == detected.metric else ():
        ax.plot([x], [scale * y], "o", markersize=8, markerfacecolor="none", color="#000000")
    diverged = sweep.trials[sweep.trials["status"] == "diverged"]
    if len(diverged) and capacity != EPOCHS:
        x_values, heights = diverged[sweep_column(sweep, capacity)], np.full(len(diverged), 0.98)
        transform = ax.get_xaxis_transform()
        ax.plot(x_values, heights, "x", color="#000000", transform=transform, label="diverged")


def _label_axes(
    ax: Axes, sweeps: Sequence[SweepView], capacity: str, metric: Metric, statistic: Statistic
) -> None:
    ax.set_title("Error" if metric == "error" else "Loss")
    plotting.capacity_axis(ax, _in_words(capacity))
    seeds = sweeps[0].completed_trials["seed"].nunique()
    over_seeds = f"{statistic} over {seeds} seeds" if seeds > 1 else "one seed"
    ax.set_ylabel(
        f"error, % ({over_seeds})" if metric == "error" else f"{loss_label(sweeps)}\n({over_seeds})"
    )


def _limit_y_axis(ax: Axes, metric: Metric, test_values: list[float]) -> None:
    """Start errors at 0, and let losses range around the test losses, on a log axis if they span much."""
    if metric == "error":
        ax.set_ylim(0, None)
        return
    plotting.log_if_wide(ax, test_values)
    if ax.get_yscale() == "log":  # a fitted training set may have a loss of 1e-30, far below the test losses
        ax.set_ylim(min(test_values) / 30, max(test_values) * 5)


def _scale(metric: Metric) -> float:
    """The factor of the y axis: errors are drawn in per cent."""
    return 100.0 if metric == "error" else 1.0


def epochs_by_capacity(sweeps: Sequence[SweepView], capacity: str, metric: Metric | None) -> Figure:
    """The test metric over training and capacity, mean over seeds; one panel per sweep."""
    if capacity == EPOCHS:
        raise InvalidValue("a sweep over epochs has no other capacity to draw them against")

    def draw(ax: Axes, sweep: SweepView) -> str:
        table, quantity = _metric_by_epoch(sweep, capacity, metric)
        values = table.to_numpy()
        mesh = ax.pcolormesh(
            plotting.log_cell_edges(table.columns.to_numpy(float)),
            plotting.log_cell_edges(table.index.to_numpy(float)),
            values,
            cmap="viridis",
            shading="flat",
            vmax=HEAT_MAP_LIMIT_FACTOR * np.nanmax(values[-1]),
        )
        ax.set(yscale="log", ylabel="epoch (log scale)")
        ax.grid(False)
        plotting.capacity_axis(ax, name_in_words(capacity))
        ax.figure.colorbar(mesh, ax=ax, label=quantity, extend="max")
        worst = plotting.scientific(np.nanmax(values[-1]))
        at = table.columns[int(np.nanargmax(values[-1]))]
        return f"{sweep.label}: at the end worst at {at:g}, {worst}{' %' if '%' in quantity else ''}"

    return plotting.panel_per_result(sweeps, draw, height=3.6)[0]


def _metric_by_epoch(sweep: SweepView, capacity: str, metric: Metric | None) -> tuple[pandas.DataFrame, str]:
    """The test metric, mean over seeds, by epoch (rows) and capacity (columns), and its label."""
    rows, column = sweep.joined("metrics"), sweep_column(sweep, capacity)
    rows = rows[rows["epoch"] >= 1]  # before that all are at chance
    if rows["epoch"].nunique() < 3:
        raise InvalidValue("the runs have too few records to draw training against capacity")
    split = reported_error_split(rows)
    measured = metric or default_metric(rows, split)
    refuse_sparse_grid(rows, "epoch", column)
    rows = rows.assign(measured=metric_values(rows, split, measured))
    table = rows.pivot_table(values="measured", index="epoch", columns=column)
    if table.shape[1] < 2:
        raise InvalidValue(f"the heat map needs two values of '{capacity}' or more")
    return table * _scale(measured), f"{split} {measured}" + (", %" if measured == "error" else "")


def fitted_functions(sweeps: Sequence[SweepView], capacity: str, detected: DoubleDescent) -> Figure:
    """The functions of the first seed below, at and beyond the threshold, with truth and training points."""
    if len(sweeps) > 1:
        raise InvalidValue("functions are drawn of one sweep at a time")
    sweep = sweeps[0]
    rows, column = sweep.joined("predictions"), sweep_column(sweep, capacity)
    if "input" not in rows:
        raise InvalidValue("functions can be drawn of one input only")
    rows = rows[rows["seed"] == rows["seed"].min()]
    largest = float(rows[column].max())
    at = detected.peak_capacity if detected.peak_capacity is not None else largest
    beyond = detected.second_capacity if detected.second_capacity is not None else largest
    capacities = {"below": detected.classical_capacity, "at": at, "beyond": beyond}
    figure, axes = plotting.panels(1, len(capacities), 3.0, sharey=True)
    for ax, (where, size) in zip(axes[0], capacities.items(), strict=True):
        model_rows = rows[rows[column] == size]
        test, train = (
            model_rows[model_rows["split"] == split].sort_values("input") for split in ("test", "train")
        )
        ax.plot(test["input"], test["target"], color="#999999", linewidth=1.0, label="truth")
        ax.plot(test["input"], test["prediction"], color=plotting.COLOURS[6], label="fit")
        colour = plotting.SPLIT_COLOURS["train"]
        ax.plot(train["input"], train["target"], "o", markersize=4, color=colour, label="training")
        error = np.square(test["prediction"] - test["target"]).mean()
        found = f"{where}: {size:g}\nsquared error {plotting.scientific(error)}"
        ax.set(title=found, xlabel="input")
    targets = rows[rows["split"] == "test"]["target"]
    span = float(targets.max() - targets.min())
    axes[0][0].set_ylim(float(targets.min()) - span / 2, float(targets.max()) + span / 2)
    axes[0][0].set_ylabel("output")
    words = f"{name_in_words(capacity)} below, at and beyond the threshold"
    plotting.figure_title(figure, f"{sweep.label}: fits with {words}")
    plotting.legend(axes[0][0], loc="upper left")
    return figure
