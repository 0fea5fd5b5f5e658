"""What makes the peak of double descent in least squares, taken apart by directions of the training features.

X = U diag(s) V' are the training features `[N, P]`, Y `[N, K]` their targets, and E = Y - X B what the best
linear model B leaves. Least squares errs at held-out features x, beside what X leaves out, by

    sum_r  1 / s_r  *  (x . v_r)  *  (u_r . E)

so that a direction r does harm where three factors come together: a small singular value, held-out features
along v_r, and a residual along u_r. The peak is that of the direction with the smallest s_r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

ROUNDING = 1e-12  # of the largest singular value: directions below it are none
ABSENT = 1e-3  # a factor below it is as good as none
FACTORS = {  # number -> what made a peak, and why there is none
    "amplification": ("small singular values", "small singular values are not divided by"),
    "residual": ("the residual of the best linear model", "the best linear model leaves no residual"),
    "test_feature": (
        "test features in unseen directions",
        "the test features have nothing in the unseen directions",
    ),
}


class PeakFactors(NamedTuple):
    """The three factors of the direction in which the training features vary least.

    Attributes:
        variation: Its singular value over the root mean square of all of them.
        amplification: What the solver multiplies targets along it by, 1 / s without penalty or cutoff, times
            the root mean square of all singular values; 0 where it leaves the direction out.
        residual: What the best linear model leaves of the targets along it, over the root mean square of the
            targets along all directions.
        test_feature: The held-out features along it, over those along all directions, root mean squares.
        error_share: Share, 0 to 1, that it has of the error through all directions; null without error.
        reason: Why numbers are null.
    """

    variation: float
    amplification: float
    residual: float | None
    test_feature: float | None
    error_share: float | None
    reason: str | None = None


@phenomenon
def peak_factors() -> RunPhenomenon:
    """Which of three factors makes, or would make, the peak of double descent in least squares?

    For runs with a solver. The best linear model is fitted to the held-out examples, which must be more than
    the features. Across a sweep, the figure of double_descent says which factor grew towards the peak, or
    which one is missing.

    Reference:
        Schaeffer et al. 2023, Double descent demystified, equation 5.
    """
    return RunPhenomenon(
        result=PeakFactors,
        detect=detect,
        figures={"peak_factors": factors_by_direction},
        reads_directions=True,
    )


def detect(run: RunView) -> PeakFactors:
    """The numbers of the table `directions`. Raises InvalidValue."""
    table = _directions(run)
    last = table.iloc[-1]
    usual = np.sqrt(np.square(table[["singular_value", "target", "test_feature"]]).mean())
    variation = float(last["singular_value"] / usual["singular_value"])
    amplification = float(last["gain"] * usual["singular_value"])
    if not np.isfinite(table["residual"]).all():
        reason = "the best linear model takes more held-out examples than features"
        return PeakFactors(variation, amplification, None, None, None, reason)
    errors = _errors(table)
    total = float(errors.sum())
    return PeakFactors(
        variation=variation,
        amplification=amplification,
        residual=_ratio(last["residual"], usual["target"]),
        test_feature=_ratio(last["test_feature"], usual["test_feature"]),
        error_share=_ratio(errors.iloc[-1], total),
        reason=None if total > 0 else "there is no error through any direction",
    )


def _directions(run: RunView) -> pandas.DataFrame:
    """The rows of the table `directions` that are no rounding, by falling singular value."""
    table = run.tables["directions"]
    refuse_non_numeric(table, ("direction", "singular_value", "gain", "target", "residual", "test_feature"))
    table = table[table["singular_value"] > ROUNDING * table["singular_value"].max()]
    if table.empty:
        raise InvalidValue("the training features vary in no direction")
    return table


def _errors(table: pandas.DataFrame) -> pandas.Series:
    """The mean squared error through each direction."""
    return (table["gain"] * table["residual"] * table["test_feature"]) ** 2


def _ratio(part: float, total: float) -> float | None:
    return float(part / total) if total > 0 else None


def cause_of_peak(trials: pandas.DataFrame, axis: str, peak: float | None, foot: float) -> str:
    """What made the peak of a sweep, or which factor is missing; empty where the trials do not say.

    Args:
        trials: A row for each complete trial, with the numbers of peak_factors.
        axis: The column of the capacity.
        peak: The capacity of the peak, None without one.
        foot: That of the lowest point before it.
    """
    names = [f"peak_factors.{name}" for name in ("variation", *FACTORS)]
    if not set(names) <= set(trials):
        return ""
    medians = trials.groupby(axis)[names].median().set_axis(["variation", *FACTORS], axis=1).dropna()
    by_capacity = dict(zip(medians.index.to_numpy(float).tolist(), medians.to_dict("records"), strict=True))
    at = peak or min(by_capacity, key=lambda place: by_capacity[place]["variation"], default=None)
    if at not in by_capacity or foot not in by_capacity:
        return ""
    missing = [why for name, (_, why) in FACTORS.items() if by_capacity[at][name] < ABSENT]
    if missing or peak is None:
        return " and ".join(missing)
    grown = {name: by_capacity[at][name] / by_capacity[foot][name] for name in FACTORS}
    most = max(grown, key=lambda name: grown[name])
    times = {name: plotting.scientific(factor) for name, factor in grown.items()}
    return (
        f"{FACTORS[most][0]} made it (of 1/s {times['amplification']}, of the residual {times['residual']}, "
        f"of test features {times['test_feature']} times what there was at {foot:g})"
    )


def factors_by_direction(runs: Sequence[RunView]) -> Figure:
    """The three factors, and the error that they make, for each direction of the training features."""
    figure, axes = plotting.panels(2, 2, 4.6 + 0.15 * len(runs), sharex=True)
    panels = (
        ("What targets are multiplied by", "gain, 1/s", "gain"),
        ("What the best linear model leaves", "residual along u", "residual"),
        ("Held-out features", "features along v", "test_feature"),
        ("The error that they make", "squared error", "error"),
    )
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = _directions(run)
        table = table.assign(error=_errors(table))
        for ax, (_, _, column) in zip(axes.flat, panels, strict=True):
            ax.plot(table["direction"], table[column], color=colour, marker="o", markersize=3)
    for ax, (title, label, _) in zip(axes.flat, panels, strict=True):
        ax.set(title=title, ylabel=label)
        plotting.integer_ticks(ax.xaxis)
    for ax in axes[1]:
        ax.set_xlabel("direction, by falling singular value s")
    if len(runs) == 1:
        plotting.figure_title(figure, _caption(runs[0]))
    else:
        plotting.colour_legend(figure, [_caption(run) for run in runs], "")
    return figure


def _caption(run: RunView) -> str:
    share = detect(run).error_share
    return (
        run.label if share is None else f"{run.label}: {100 * share:.0f} % of the error by the last direction"
    )
