"""Double descent: test error that falls, rises up to where the data are fitted, and falls again.

Sources: lectures 000 and 001; Belkin et al. 2019; Nakkiran et al. 2019 (by width, epochs and examples);
Schaeffer et al. 2023.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    phenomenon,
    refuse_non_numeric,
    refuse_sparse_grid,
    sweep_column,
)
from nnlab.registry import NonNegative

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_RISE = 0.05  # of the classical minimum, below which a bump is none
SIGMAS = 2.0
HOTTEST = 1.1  # times the worst final value: the end of the heat map's colours; early training is far beyond

Metric = Literal["error", "loss"]
Statistic = Literal["mean", "median"]


class DoubleDescent(NamedTuple):
    """Numbers of the test curve over capacity, `statistic` over seeds at each point.

    metric, epsilon, statistic: what the numbers are of. threshold: the interpolation threshold, the first
    capacity at which the train metric is epsilon or less (of a number of examples, the last). peak: the point
    that rises highest above the lowest points on both of its sides; classical_minimum and second_minimum:
    those; ..._capacity: where. rise: peak - classical_minimum. prominence: the peak above the higher of the
    two minima. second_descent: classical_minimum - second_minimum. peak_at_threshold: there is a peak, at
    most one point of the grid away from the threshold.
    verdict: see `double_descent`.
    """

    metric: str
    statistic: str
    epsilon: float
    threshold: float | None
    classical_minimum: float
    classical_capacity: float
    peak: float | None
    peak_capacity: float | None
    second_minimum: float | None
    second_capacity: float | None
    rise: float
    prominence: float
    second_descent: float | None
    peak_at_threshold: bool
    verdict: str


@phenomenon
def double_descent(
    capacity: str,
    metric: Metric | None = None,
    epsilon: NonNegative = 0.1,
    statistic: Statistic = "mean",
) -> SweepPhenomenon:
    """Does the test error peak where the training data are just fitted, and fall again beyond?

    capacity: the axis of the sweep that is read along: a width or degree, a number of examples (an axis of
    `data`), or `epochs`, the records of each run. metric: of the test set (the validation set where there is
    none); null is the error for classes, else the loss. epsilon: the train metric at which the data count as
    fitted (0.1: Nakkiran et al.; with label noise, the share of wrong labels). The verdict is `double
    descent` where the curve has a peak and falls below its classical minimum beyond it, `peak` where it
    does not fall so far, else `none`. A peak stands above the lowest points on both sides of it by at least
    5 % of the classical minimum, and by more than twice the standard error over seeds (for a median: in three
    quarters of the seeds).
    """

    def read(sweep: SweepView) -> DoubleDescent:
        return detect(curve(sweep, capacity, metric), epsilon, statistic)

    def compare(sweeps: Sequence[SweepView]) -> Figure:
        return capacity_curve(sweeps, capacity, [read(sweep) for sweep in sweeps])

    return SweepPhenomenon(
        result=DoubleDescent,
        detect=read,
        figures={
            "double_descent": compare,
            "epochs_by_capacity": lambda sweeps: epochs_by_capacity(sweeps, capacity, metric),
            "fitted_functions": lambda sweeps: fitted_functions(sweeps, capacity, read(sweeps[0])),
        },
        axis=capacity,
    )


class Curve(NamedTuple):
    """Train and test metric of every seed at every capacity, `[seeds, points]`, capacities ascending.

    falling: whether the data are fitted up to the threshold, and not from it on: capacity counts examples.
    """

    capacities: np.ndarray
    train: np.ndarray
    test: np.ndarray
    metric: str
    falling: bool

    def at(self, statistic: str) -> tuple[np.ndarray, np.ndarray]:
        """Train and test metric over the seeds, `[points]` each."""
        reduce = np.mean if statistic == "mean" else np.median
        return over_seeds(self.train, reduce), over_seeds(self.test, reduce)


def over_seeds(values: np.ndarray, reduce: Callable[[np.ndarray], float]) -> np.ndarray:
    """`[seeds, points]` to `[points]`, over the seeds that are there; NaN where none is."""
    found = [column[np.isfinite(column)] for column in values.T]
    return np.array([reduce(column) if column.size else np.nan for column in found])


def curve(sweep: SweepView, capacity: str, metric: str | None) -> Curve:
    """Read a sweep along its capacity. Raises InvalidValue where it has fewer than three points."""
    if capacity == "epochs":
        rows, prefix, column = sweep.joined("metrics"), "", "epoch"
        refuse_non_numeric(rows, ["step"])
        rows = rows[rows["step"] > 0]
    else:
        rows, prefix, column = sweep.trials, "final.", sweep_column(sweep, capacity)
    refuse_non_numeric(rows, (column, "seed"))
    split = next((s for s in ("test", "validation") if f"{prefix}{s}_loss" in rows), None)
    if split is None:
        raise InvalidValue("double descent is one of the test error; the data have no test split")
    name = metric or ("error" if f"{prefix}{split}_accuracy" in rows else "loss")
    rows = rows[np.isfinite(_measured(rows, f"{prefix}{split}", name))]
    train, test = (_measured(rows, f"{prefix}{part}", name) for part in ("train", split))
    points, seeds = np.unique(rows[column].to_numpy(float)), np.unique(rows["seed"])
    if len(points) < 3:
        raise InvalidValue(f"a curve over '{capacity}' needs three points or more; there are {len(points)}")
    refuse_sparse_grid(rows, "seed", column)
    place = np.searchsorted(seeds, rows["seed"]), np.searchsorted(points, rows[column].to_numpy(float))
    tables = np.full((2, len(seeds), len(points)), np.nan)
    tables[0][place], tables[1][place] = train, test
    return Curve(points, tables[0], tables[1], name, capacity.startswith("data."))


def detect(found: Curve, epsilon: float, statistic: str) -> DoubleDescent:
    """The detector, see DoubleDescent."""
    x = found.capacities
    train, test = found.at(statistic)
    fitted = np.flatnonzero(train <= epsilon)
    threshold = None if not fitted.size else int(fitted[-1] if found.falling else fitted[0])
    lowest = int(np.nanargmin(test))
    none = DoubleDescent(
        metric=found.metric,
        statistic=statistic,
        epsilon=epsilon,
        threshold=None if threshold is None else float(x[threshold]),
        classical_minimum=float(test[lowest]),
        classical_capacity=float(x[lowest]),
        peak=None,
        peak_capacity=None,
        second_minimum=None,
        second_capacity=None,
        rise=0.0,
        prominence=0.0,
        second_descent=None,
        peak_at_threshold=False,
        verdict="none",
    )
    peak = _peak(test)
    if peak is None:
        return none
    left, right = int(np.nanargmin(test[:peak])), peak + 1 + int(np.nanargmin(test[peak + 1 :]))
    real = all(
        _rises(found.test[:, peak] - found.test[:, foot], test[left], statistic) for foot in (left, right)
    )
    descent = float(test[left] - test[right])
    return none._replace(
        classical_minimum=float(test[left]),
        classical_capacity=float(x[left]),
        peak=float(test[peak]),
        peak_capacity=float(x[peak]),
        second_minimum=float(test[right]),
        second_capacity=float(x[right]),
        rise=float(test[peak] - test[left]),
        prominence=float(test[peak] - max(test[left], test[right])),
        second_descent=descent,
        peak_at_threshold=real and threshold is not None and abs(peak - threshold) <= 1,
        verdict=("double descent" if descent > 0 else "peak") if real else "none",
    )


def _peak(values: np.ndarray) -> int | None:
    """The inner point that rises highest above the lowest ones on both sides; None where none rises."""
    heights = [
        values[i] - max(np.nanmin(values[:i]), np.nanmin(values[i + 1 :])) for i in range(1, len(values) - 1)
    ]
    best = int(np.nanargmax(heights))
    return best + 1 if heights[best] > 0 else None


def _rises(rises: np.ndarray, base: float, statistic: str) -> bool:
    """Whether the rises of the seeds are more than a bump, next to the classical minimum, and chance."""
    rises = rises[np.isfinite(rises)]
    if not rises.size:
        return False
    if statistic == "median":
        return bool(np.median(rises) >= LEAST_RISE * base and np.quantile(rises, 0.25) > 0)
    error = rises.std(ddof=1) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
    return bool(rises.mean() >= LEAST_RISE * base and rises.mean() > SIGMAS * error)


def _measured(rows: pandas.DataFrame, part: str, metric: str) -> np.ndarray:
    if metric == "loss":
        refuse_non_numeric(rows, [f"{part}_loss"])
        return rows[f"{part}_loss"].to_numpy(float)
    if f"{part}_accuracy" not in rows:
        raise InvalidValue("these data have no classes, so no error; read the metric 'loss'")
    refuse_non_numeric(rows, [f"{part}_accuracy"])
    return 1.0 - rows[f"{part}_accuracy"].to_numpy(float)


# --- figures -----------------------------------------------------------------------------------------------


def capacity_curve(sweeps: Sequence[SweepView], capacity: str, detected: Sequence[DoubleDescent]) -> Figure:
    """Train and test error and loss against capacity, with a band over seeds; several sweeps in colours."""
    statistic = detected[0].statistic
    kinds = [metric for metric in ("error", "loss") if all(_has(sweep, metric) for sweep in sweeps)]
    figure, axes = plotting.panels(1, len(kinds), width=1.6 + 3.6 * len(kinds), height=3.6)
    for ax, metric in zip(axes[0], kinds, strict=True):
        drawn: list[float] = []
        for sweep, colour in zip(sweeps, plotting.colours(len(sweeps)), strict=True):
            found = curve(sweep, capacity, metric)
            drawn += _draw_curve(ax, found, statistic, colour if len(sweeps) > 1 else None)
            if len(sweeps) == 1:
                _mark(ax, sweep, found, detected[0], capacity)
        _dress(ax, sweeps, capacity, metric, statistic, drawn)
    if len(sweeps) == 1:
        axes[0][0].set_title(f"{sweeps[0].label}: {detected[0].verdict}")
        plotting.legend(axes[0][0], loc="best")
        return figure
    words = [f"{s.label}: {d.verdict}" for s, d in zip(sweeps, detected, strict=True)]
    plotting.colour_legend(figure, words, "test solid, train dashed")
    return figure


def _draw_curve(ax: Axes, found: Curve, statistic: str, colour: Any) -> list[float]:
    """Draw test and train metric, in one colour if it is given; returns what was drawn of the test metric."""
    scale = 100.0 if found.metric == "error" else 1.0
    values: list[float] = []
    for seeds, name, style, own in (
        (found.test, "test", "-", plotting.COLOURS[0]),
        (found.train, "train", "--", plotting.COLOURS[1]),
    ):
        middle, low, high = (scale * part for part in _band(seeds, statistic))
        shade = colour or own
        marks = "o" if len(found.capacities) < 60 else ""
        ax.plot(
            found.capacities,
            middle,
            style,
            color=shade,
            marker=marks,
            markersize=3,
            label=name,
        )
        if len(seeds) > 1:
            ax.fill_between(found.capacities, low, high, color=shade, alpha=0.18, linewidth=0)
        values += middle[np.isfinite(middle)].tolist() if name == "test" else []
    return values


def _band(seeds: np.ndarray, statistic: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle, low and high over the seeds: the mean and its 95 % interval, or median and quartiles."""
    if statistic == "median":
        low, middle, high = (
            over_seeds(seeds, functools.partial(np.quantile, q=share)) for share in (0.25, 0.5, 0.75)
        )
        return middle, low, high
    middle = over_seeds(seeds, np.mean)
    half = over_seeds(seeds, lambda v: 1.96 * v.std(ddof=1) / math.sqrt(len(v)) if len(v) > 1 else 0.0)
    return middle, middle - half, middle + half


def _mark(ax: Axes, sweep: SweepView, curve: Curve, found: DoubleDescent, capacity: str) -> None:
    """The threshold as a line, the minima and the peak of the metric that was judged as points, diverged
    trials as crosses."""
    scale = 100.0 if found.metric == "error" else 1.0
    if found.threshold is not None:
        fitted = f"train {found.metric} <= {scale * found.epsilon:g}{' %' if scale > 1 else ''}"
        ax.axvline(found.threshold, color="#555555", linestyle=":", linewidth=1.2, label=fitted)
    points: list[tuple[Any, Any]] = [(found.classical_capacity, found.classical_minimum)]
    if found.verdict != "none":
        points += [(found.peak_capacity, found.peak), (found.second_capacity, found.second_minimum)]
    for x, y in points if curve.metric == found.metric else ():
        ax.plot([x], [scale * y], "o", markersize=8, markerfacecolor="none", color="#000000")
    table = getattr(sweep, "table", sweep.trials)
    lost = table[table["status"] == "diverged"]
    if len(lost) and capacity != "epochs":
        heights = np.full(len(lost), 0.98)
        at = lost[sweep_column(sweep, capacity)]
        ax.plot(at, heights, "x", color="#000000", transform=ax.get_xaxis_transform(), label="diverged")


def _dress(
    ax: Axes, sweeps: Sequence[SweepView], capacity: str, metric: str, statistic: str, drawn: list[float]
) -> None:
    ax.set_title("Error" if metric == "error" else "Loss")
    plotting.capacity_axis(ax, "epoch" if capacity == "epochs" else capacity)
    seeds = sweeps[0].trials["seed"].nunique()
    over = f"{statistic} over {seeds} seeds" if seeds > 1 else "one seed"
    ax.set_ylabel(f"error, % ({over})" if metric == "error" else f"mean loss ({over})")
    if metric == "loss":
        plotting.log_if_wide(ax, drawn)
        if ax.get_yscale() == "log":  # a fitted training set is at 1e-30: not what the figure is about
            ax.set_ylim(min(drawn) / 30, max(drawn) * 5)
    else:
        ax.set_ylim(0, None)


def _has(sweep: SweepView, metric: str) -> bool:
    return metric == "loss" or "final.train_accuracy" in sweep.trials


def epochs_by_capacity(sweeps: Sequence[SweepView], capacity: str, metric: str | None) -> Figure:
    """The test metric over training and capacity, mean over seeds; one panel a sweep."""
    if capacity == "epochs":
        raise InvalidValue("a sweep over epochs has no other capacity to draw them against")
    figure, axes = plotting.panels(1, len(sweeps), width=0.6 + 4.6 * len(sweeps), height=3.6)
    for ax, sweep in zip(axes[0], sweeps, strict=True):
        rows, column = sweep.joined("metrics"), sweep_column(sweep, capacity)
        rows = rows[rows["epoch"] >= 1]  # before that all are at chance
        if rows["epoch"].nunique() < 3:
            raise InvalidValue("the runs have too few records to draw training against capacity")
        split = "test" if "test_loss" in rows else "validation"
        name = metric or ("error" if f"{split}_accuracy" in rows else "loss")
        refuse_sparse_grid(rows, "epoch", column)
        measured = rows.assign(found=_measured(rows, split, name))
        table = measured.pivot_table(values="found", index="epoch", columns=column)
        if table.shape[1] < 2:
            raise InvalidValue(f"the heat map needs two values of '{capacity}' or more")
        values = table.to_numpy() * (100.0 if name == "error" else 1.0)
        shown = ax.pcolormesh(
            plotting.edges(table.columns.to_numpy(float)),
            plotting.edges(table.index.to_numpy(float)),
            values,
            cmap="viridis",
            shading="flat",
            vmax=HOTTEST * np.nanmax(values[-1]),
        )
        ax.set(yscale="log", ylabel="epoch (log)", title=sweep.label)
        ax.grid(False)
        plotting.capacity_axis(ax, capacity)
        label = f"{split} {name}" + (", %" if name == "error" else "")
        figure.colorbar(shown, ax=ax, label=label, extend="max")
    return figure


def fitted_functions(sweeps: Sequence[SweepView], capacity: str, found: DoubleDescent) -> Figure:
    """The functions of the first seed below, at and beyond the threshold, with truth and training points."""
    if len(sweeps) > 1:
        raise InvalidValue("functions are drawn of one sweep at a time")
    sweep = sweeps[0]
    rows, column = sweep.joined("predictions"), sweep_column(sweep, capacity)
    if "input" not in rows:
        raise InvalidValue("functions can be drawn of one input only")
    rows = rows[rows["seed"] == rows["seed"].min()]
    largest = float(rows[column].max())
    at = found.peak_capacity if found.peak_capacity is not None else largest
    beyond = found.second_capacity if found.second_capacity is not None else largest
    chosen = {"below": found.classical_capacity, "at": at, "beyond": beyond}
    figure, axes = plotting.panels(1, len(chosen), width=9.0, height=3.0, sharey=True)
    for ax, (where, size) in zip(axes[0], chosen.items(), strict=True):
        part = rows[rows[column] == size]
        test, train = (part[part["split"] == split].sort_values("input") for split in ("test", "train"))
        ax.plot(test["input"], test["target"], color="#999999", linewidth=1.0, label="truth")
        ax.plot(test["input"], test["prediction"], color=plotting.COLOURS[0], label="fit")
        ax.plot(
            train["input"], train["target"], "o", markersize=4, color=plotting.COLOURS[1], label="training"
        )
        ax.set(title=f"{where} the threshold: {size:g}", xlabel="input")
    span = rows[rows["split"] == "test"]["target"]
    reach = float(span.max() - span.min())
    axes[0][0].set_ylim(float(span.min()) - reach / 2, float(span.max()) + reach / 2)
    axes[0][0].set_ylabel("output")
    plotting.legend(axes[0][0], loc="upper left")
    return figure
