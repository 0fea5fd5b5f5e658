"""The learning-rate range test: raise the rate through a short training, and see where the loss turns up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AVERAGING_DECADES = 0.1  # to each side of a rate
MINIMUM_RATE_RATIO = 10.0  # last rate over first
MINIMUM_RECORDS = 5
MINIMUM_FALL_SHARE = 0.01  # of the first loss, which the averaged one must fall by to have a turning point
MAXIMUM_LOSS_RATIO = 2.0  # to the first loss: what is beyond tells no more, and would spoil the averages
REGAINED_FALL_SHARE = 0.25  # more than noise; a net that dies rises only to the loss of a guess


class LearningRateRange(NamedTuple):
    """The training loss over the logarithm of the learning rate.

    Attributes:
        steepest_rate: Learning rate, up to turning_rate, at which the averaged loss falls fastest; null where
            it does not fall by a hundredth.
        turning_rate: Learning rate at which the averaged loss is smallest, before it blows up; null likewise.
        suggested_rate: turning_rate / 10; null likewise.
        blew_up: Whether beyond turning_rate the loss rose again, by more than a quarter of its fall, or the
            training diverged; false says that the rate did not rise far enough.
        reason: Why numbers are null.
    """

    steepest_rate: float | None
    turning_rate: float | None
    suggested_rate: float | None
    blew_up: bool
    reason: str | None = None


class LossByRate(NamedTuple):
    """The loss over a rising learning rate; N records.

    Attributes:
        rates: `[N]`, ascending.
        losses: Training loss, `[N]`.
        averaged: The loss averaged over a tenth of a decade to each side, `[N]`.
    """

    rates: np.ndarray
    losses: np.ndarray
    averaged: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """Change of the averaged loss per decade, `[N]`, over a tenth of a decade to each side."""
        decades = np.log10(self.rates)
        ends = [
            np.clip(decades + side, decades[0], decades[-1])
            for side in (-AVERAGING_DECADES, AVERAGING_DECADES)
        ]
        before, after = (np.interp(end, decades, self.averaged) for end in ends)
        return (after - before) / (ends[1] - ends[0])


@phenomenon
def learning_rate_range() -> RunPhenomenon:
    """Which learning rate suits? For a short training whose rate rises exponentially, by `range_test`.

    The training loss is averaged over a tenth of a decade to each side of a rate; record at least twenty
    times a decade. The numbers are those of one training: at a higher rate weights are further trained, too.

    Reference:
        Smith 2015 (the test); Géron 2019, chapter 11 (raise the rate exponentially, then take a tenth of the
        one at which the loss starts to climb); lecture 004 (the choice of the learning rate).
    """
    return RunPhenomenon(
        result=LearningRateRange,
        detect=detect,
        figures={"learning_rate_range": loss_by_rate},
    )


def detect(run: RunView) -> LearningRateRange:
    """The numbers of the table `metrics`. Raises InvalidValue, see `read_loss_by_rate`."""
    curve = read_loss_by_rate(run)
    turn = int(curve.averaged.argmin())
    last = run.tables["metrics"]["train_loss"].to_numpy(float)[-1:]
    lowest = curve.averaged[turn]
    regained = lowest + REGAINED_FALL_SHARE * max(0.0, curve.losses[0] - lowest)
    blew_up = (curve.losses[turn:] > regained).any() or not np.isfinite(last).all()
    blew_up = bool(blew_up or run.summary.get("status") == "diverged")
    if lowest >= (1 - MINIMUM_FALL_SHARE) * curve.averaged[0]:
        return LearningRateRange(None, None, None, blew_up, "the loss does not fall as the rate rises")
    turning = float(curve.rates[turn])
    return LearningRateRange(
        steepest_rate=float(curve.rates[curve.slopes[: turn + 1].argmin()]),
        turning_rate=turning,
        suggested_rate=turning / 10,
        blew_up=blew_up,
    )


def read_loss_by_rate(run: RunView) -> LossByRate:
    """The records at which the rate is above all before. Raises InvalidValue where it does not rise tenfold
    while the loss is finite."""
    metrics = run.tables["metrics"]
    if "learning_rate" not in metrics:
        raise InvalidValue("a closed-form solution has no learning rate")
    rates, losses = (metrics[name].to_numpy(float) for name in ("learning_rate", "train_loss"))
    rises = rates > np.maximum.accumulate(np.concatenate([[0.0], rates[:-1]]))
    kept = rises & np.isfinite(losses)
    rates, losses = rates[kept], losses[kept]
    if len(rates) < MINIMUM_RECORDS or rates[-1] < MINIMUM_RATE_RATIO * rates[0]:
        diverged = rises.sum() > kept.sum() or run.summary.get("status") == "diverged"
        raise InvalidValue(
            f"training diverged before the learning rate had risen tenfold over {MINIMUM_RECORDS} records; "
            "begin at a lower one"
            if diverged
            else f"the learning rate does not rise tenfold over {MINIMUM_RECORDS} records or more"
        )
    decades = np.log10(rates)
    sums = np.concatenate([[0.0], np.minimum(losses, MAXIMUM_LOSS_RATIO * losses[0]).cumsum()])
    reach = AVERAGING_DECADES + 1e-9  # evenly spaced records must not be in or out by rounding
    low, high = np.searchsorted(decades, decades - reach), np.searchsorted(decades, decades + reach, "right")
    return LossByRate(rates, losses, (sums[high] - sums[low]) / (high - low))


def loss_by_rate(runs: Sequence[RunView]) -> Figure:
    """The training loss over the rate, with its average and the three rates; one panel a run."""
    curves = []

    def draw(ax: Axes, run: RunView) -> str:
        curve, result = read_loss_by_rate(run), detect(run)
        curves.append(curve)
        _draw_curve(ax, curve, result)
        ax.set_ylabel(loss_label([run], "training"))
        return f"{run.label}: {result.reason or _outcome(result)}"

    figure, axes = plotting.panel_per_result(runs, draw, sharey=True)
    low, first = min(curve.averaged.min() for curve in curves), max(curve.losses[0] for curve in curves)
    fall = max(first - low, 0.1 * first) or 1.0
    axes[0].set_ylim(low - 0.1 * fall, first + 0.5 * fall)  # what blows up is cut off
    return figure


def _outcome(result: LearningRateRange) -> str:
    if result.turning_rate is None or not result.blew_up:
        return "the rate did not rise far enough"
    return f"the loss turns up at a rate of {plotting.scientific(result.turning_rate)}"


def _draw_curve(ax: Axes, curve: LossByRate, result: LearningRateRange) -> None:
    ax.plot(curve.rates, curve.losses, color="#999999", linewidth=0.8, label="each record")
    ax.plot(curve.rates, curve.averaged, color=plotting.COLOURS[0], label="averaged")
    for name, rate, style, colour in (
        ("suggested", result.suggested_rate, "--", plotting.COLOURS[2]),
        ("steepest", result.steepest_rate, ":", plotting.COLOURS[1]),
        ("turning", result.turning_rate, "-.", plotting.COLOURS[3]),
    ):
        if rate is not None:
            label = f"{name}: {plotting.scientific(rate)}"
            ax.axvline(rate, color=colour, linestyle=style, linewidth=1.2, label=label)
    ax.set(xscale="log", xlabel="learning rate (log scale)")
    plotting.legend(ax, loc="upper left", frameon=True, edgecolor="none", framealpha=1.0)
