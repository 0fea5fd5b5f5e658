"""The learning-rate range test: raise the rate through a short training, and see where the loss turns up.

Sources: Smith 2015 (the test); Géron 2019, chapter 11 (raise it exponentially, then take a tenth of the rate
at which the loss starts to climb); lecture 004 (the choice of the learning rate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACH = 0.1  # decades to each side, over which the loss is averaged
LEAST_SPAN = 10.0  # last rate over first
LEAST_RECORDS = 5
BLOWN_UP = 2.0  # times the first loss: what is beyond tells no more, and would spoil the averages
REGAINED = 0.25  # of its fall: more than noise; a net that dies rises only to the loss of a guess


class LearningRateRange(NamedTuple):
    """Of the loss over the logarithm of the rate, see `learning_rate_range`; null where the rate does not
    rise tenfold.

    turning_rate: where the loss is smallest, before it blows up. steepest_rate: up to there, where it falls
    fastest. suggested_rate: turning_rate / 10. blew_up: beyond turning_rate the loss rose again, by more than
    a quarter of its fall, or the training diverged; false says that the rate did not rise far enough.
    """

    steepest_rate: float | None
    turning_rate: float | None
    suggested_rate: float | None
    blew_up: bool


class Curve(NamedTuple):
    """Rates, ascending, the training loss at each, and the loss averaged; `[records]` each."""

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray

    @property
    def slopes(self) -> np.ndarray:
        """How much the average changes a decade, over REACH to each side."""
        places = np.log10(self.rates)
        ends = [np.clip(places + side, places[0], places[-1]) for side in (-REACH, REACH)]
        before, after = (np.interp(end, places, self.smooth) for end in ends)
        return (after - before) / (ends[1] - ends[0])


@phenomenon
def learning_rate_range() -> RunPhenomenon:
    """Which learning rate suits? For a short training whose rate rises exponentially, by `range_test`.

    The training loss is averaged over a tenth of a decade to each side of a rate; record at least twenty
    times a decade. A number of one training: at a higher rate weights are further trained, too.
    """
    return RunPhenomenon(
        result=LearningRateRange,
        detect=detect,
        figures={"learning_rate_range": loss_by_rate},
    )


def detect(run: RunView) -> LearningRateRange:
    """The detector's numbers."""
    curve = rising(run)
    if curve is None:
        return LearningRateRange(None, None, None, False)
    turn = int(curve.smooth.argmin())
    beyond = run.tables["metrics"]["train_loss"].to_numpy(float)[-1:]
    low = curve.smooth[turn]
    high = low + REGAINED * max(0.0, curve.losses[0] - low)
    blew_up = (curve.losses[turn:] > high).any() or not np.isfinite(beyond).all()
    turning = float(curve.rates[turn])
    return LearningRateRange(
        steepest_rate=float(curve.rates[curve.slopes[: turn + 1].argmin()]),
        turning_rate=turning,
        suggested_rate=turning / 10,
        blew_up=bool(blew_up or run.summary.get("status") == "diverged"),
    )


def rising(run: RunView) -> Curve | None:
    """The records at which the rate is above all before; None where it does not rise tenfold."""
    metrics = run.tables["metrics"]
    if "learning_rate" not in metrics:  # what is solved for has none
        return None
    rates, losses = (metrics[name].to_numpy(float) for name in ("learning_rate", "train_loss"))
    above = rates > np.maximum.accumulate(np.concatenate([[0.0], rates[:-1]]))
    kept = above & np.isfinite(losses)
    rates, losses = rates[kept], losses[kept]
    if len(rates) < LEAST_RECORDS or rates[-1] < LEAST_SPAN * rates[0]:
        return None
    places = np.log10(rates)
    sums = np.concatenate([[0.0], np.minimum(losses, BLOWN_UP * losses[0]).cumsum()])
    reach = REACH + 1e-9  # where records lie evenly, rounding is not to take one in here and out there
    low, high = np.searchsorted(places, places - reach), np.searchsorted(places, places + reach, "right")
    return Curve(rates, losses, (sums[high] - sums[low]) / (high - low))


def loss_by_rate(runs: Sequence[RunView]) -> Figure:
    """The training loss over the rate, with its average and the three rates; one panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 4.2 * len(runs)), sharey=True)
    drawn = [_draw(ax, run) for ax, run in zip(axes[0], runs, strict=True)]
    low, first = min(curve.smooth.min() for curve in drawn), max(curve.losses[0] for curve in drawn)
    fall = max(first - low, 0.1 * first) or 1.0
    axes[0][0].set_ylim(low - 0.1 * fall, first + 0.5 * fall)  # not what blows up
    return figure


def _draw(ax: Axes, run: RunView) -> Curve:
    curve, found = rising(run), detect(run)
    if curve is None or found.turning_rate is None:
        raise InvalidValue(f"the learning rate of {run.label} does not rise tenfold")
    ax.plot(curve.rates, curve.losses, color="#999999", linewidth=0.8, label="loss")
    ax.plot(curve.rates, curve.smooth, color=plotting.COLOURS[0], label="averaged")
    for name, style, colour in (("suggested", "--", 2), ("steepest", ":", 1), ("turning", "-.", 3)):
        rate = getattr(found, f"{name}_rate")
        label = f"{name}: {plotting.scientific(rate)}"
        ax.axvline(rate, color=plotting.COLOURS[colour], linestyle=style, linewidth=1.2, label=label)
    says = "the loss turns up" if found.blew_up else "the rate did not rise far enough"
    ax.set(title=f"{run.label}\n{says}", ylabel="mean loss", xscale="log", xlabel="learning rate (log)")
    plotting.legend(ax, loc="upper left", frameon=True, edgecolor="none", framealpha=1.0)
    return curve
