"""Bias and variance: what a model of some capacity gets wrong on average, and how much it depends on which
training examples it was given (Geman et al. 1992; for wide models, Neal et al. 2018).

The seeds of the sweep are the resampled training sets, f_s the function learnt from the s-th. At a test
example x with target y, averaged over x and outputs:

    bias^2   = (mean_s f_s(x) - y)^2
    variance = mean_s (f_s(x) - mean_s f_s(x))^2
    risk     = mean_s (f_s(x) - y)^2 = bias^2 + variance

y is the target as given: where it has noise of its own, that is part of bias^2. f_s differs by all that the
seed draws, first weights or random features too. Of S seeds the mean is itself uncertain, which adds about
variance / S to bias^2: at the interpolation threshold the most of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

SMALL = 0.1  # of its peak: what the variance must be below at both ends, for the peak to be sharp
LINES = (("bias_squared", "bias$^2$", "-"), ("variance", "variance", "-"), ("risk", "risk, their sum", ":"))


class BiasVariance(NamedTuple):
    """variance_peak: the largest variance of all capacities. variance_peak_capacity: where.

    variance_peaks_sharply: that is neither the narrowest nor the widest model, and the variance of both is
    below a tenth of it. bias_falls: the widest model's bias^2 is below the narrowest's. decomposition_error:
    |bias^2 + variance - risk| / risk where it is largest, the risk being the mean test loss of the trials.

    At the interpolation threshold the means are over heavy tails: the peak's height depends on the seeds.
    """

    variance_peak: float
    variance_peak_capacity: float
    variance_peaks_sharply: bool
    bias_falls: bool
    decomposition_error: float


@phenomenon
def bias_variance(capacity: str) -> SweepPhenomenon:
    """Test error by capacity in two parts, bias^2 and variance; the variance may rise and then fall.

    capacity: the axis of the sweep to look along, such as model.0.units. Over the seeds, each a training set
    drawn anew, one test set: record.predictions, loss squared_error, and data whose test set is no
    matter of the seed.
    """
    return SweepPhenomenon(
        result=BiasVariance,
        detect=lambda sweep: summarize(sweep, capacity),
        figures={"bias_variance": lambda sweeps: figure(sweeps, capacity)},
        axis=capacity,
        needs_predictions=True,
    )


def summarize(sweep: SweepView, capacity: str) -> BiasVariance:
    """The detector's numbers. Raises InvalidValue."""
    curve = decomposed(sweep, capacity)
    variance, bias = curve["variance"].to_numpy(), curve["bias_squared"].to_numpy()
    peak = int(variance.argmax())
    wrong = (curve["bias_squared"] + curve["variance"] - curve["test_loss"]).abs() / curve["test_loss"]
    return BiasVariance(
        variance_peak=float(variance[peak]),
        variance_peak_capacity=curve.index[peak].item(),
        variance_peaks_sharply=bool(max(variance[0], variance[-1]) < SMALL * variance[peak]),
        bias_falls=bool(bias[-1] < bias[0]),
        decomposition_error=float(wrong.max()),
    )


def decomposed(sweep: SweepView, capacity: str) -> pandas.DataFrame:
    """bias_squared, variance, risk and test_loss by capacity, rising. Raises InvalidValue."""
    axis = sweep_column(sweep, capacity)
    refuse_non_numeric(sweep.trials, (axis, "final.test_loss"))
    table = _test_predictions(sweep)
    points = table.groupby([axis, "example", "output"])
    seeds, targets = points["seed"].nunique(), points["target"]
    if (targets.min() < targets.max()).any():
        raise InvalidValue(
            "bias_variance needs one test set for all seeds, and here it changes with the seed; take data "
            "with test examples of their own, such as linear_teacher or wave"
        )
    if seeds.min() < 2:
        raise InvalidValue("bias_variance needs two seeds or more at every capacity")
    mean = points["prediction"].transform("mean")
    squares = table.assign(
        bias_squared=(mean - table["target"]) ** 2,
        variance=(table["prediction"] - mean) ** 2,
        risk=(table["prediction"] - table["target"]) ** 2,
    )
    curve = squares.groupby(axis)[["bias_squared", "variance", "risk"]].mean()
    return curve.assign(test_loss=sweep.trials.groupby(axis)["final.test_loss"].mean())


def _test_predictions(sweep: SweepView) -> pandas.DataFrame:
    table = sweep.joined("predictions")
    refuse_non_numeric(table, ("example", "output", "target", "prediction"))
    table = table[table["split"] == "test"]
    if table.empty:
        raise InvalidValue("bias_variance needs test examples, and the data have none")
    return table


def figure(sweeps: Sequence[SweepView], capacity: str) -> Figure:
    """Bias^2, variance and their sum, the risk, by capacity; one panel a sweep."""
    drawn, axes = plotting.panels(1, len(sweeps), width=max(6.4, 4.2 * len(sweeps)), sharey=True)
    for ax, sweep in zip(axes[0], sweeps, strict=True):
        curve = decomposed(sweep, capacity)
        found = summarize(sweep, capacity)
        for (column, label, line), colour in zip(LINES, plotting.COLOURS, strict=False):
            values = curve[column].where(curve[column] > 0)
            ax.plot(curve.index, values, line, marker="o", markersize=3, color=colour, label=label)
        ax.set(title=f"{sweep.label}\n{_finding(found)}", xlabel=f"{capacity} (log)", xscale="log")
        plotting.plain_ticks(ax)
        plotting.log_axis(ax)
    axes[0][0].set_ylabel("mean over test examples of the squared error")
    handles, labels = axes[0][0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(LINES))
    return drawn


def _finding(found: BiasVariance) -> str:
    bias = "bias falls" if found.bias_falls else "bias does not fall"
    if not found.variance_peaks_sharply:
        return f"{bias}, variance has no sharp peak"
    height = plotting.scientific(found.variance_peak)
    return f"{bias}, variance peaks at {found.variance_peak_capacity:g}: {height}"
