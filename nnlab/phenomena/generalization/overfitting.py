"""Overfitting: from some step on, the validation loss rises while the training loss goes on falling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINIMUM_RISE = 1.1  # times the smallest validation loss
LATEST_BEST_SHARE = 0.9  # of the steps; if the best record is later, the curve was still falling

Verdict = Literal["overfits", "does not"]


class Overfitting(NamedTuple):
    """The validation loss at its best record and at the last one; losses are means per example.

    Attributes:
        best_step: Training step of the smallest validation loss of all records.
        best_loss: That validation loss, 0 or more.
        final_loss: Validation loss at the last record.
        rise: final_loss / best_loss, 1 or more; null where best_loss is 0, or training diverged.
        gap: final_loss minus the training loss, at the last record.
        verdict: `overfits` or `does not`, see `overfitting`; null where the loss is 0 at all records, or
            training diverged.
        reason: Why numbers are null.
    """

    best_step: int
    best_loss: float
    final_loss: float
    rise: float | None
    gap: float
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def overfitting() -> RunPhenomenon:
    """Does the validation loss rise again, while the training loss falls?

    Verdicts:
        overfits: The validation loss ends more than 10 % above its smallest value, which lies in the first
            90 % of the steps, and the training loss has fallen since.
        does not: Anything else, such as a training that diverges, where both losses rise.

    Reference:
        Prechelt 1998; lectures 001 (early stopping) and 002 (validation set, training for too many epochs).
    """
    return RunPhenomenon(
        result=Overfitting,
        detect=lambda run: detect(run.tables["metrics"]),
        figures={"overfitting": overfitting_curves},
        validate=_check_data,
    )


def _check_data(setup: Setup, data: Data) -> None:
    if data.validation is None:
        raise InvalidValue("overfitting is seen on validation examples; give data.split a validation share")


def detect(metrics: pandas.DataFrame) -> Overfitting:
    """The detector's numbers of the table `metrics`. Raises InvalidValue where they have no two records."""
    if len(metrics) < 2:
        raise InvalidValue("a curve needs two records or more")
    if not np.isfinite(metrics["validation_loss"]).any():
        raise InvalidValue("the validation loss is never finite")
    best, last = metrics.iloc[metrics["validation_loss"].fillna(math.inf).argmin()], metrics.iloc[-1]
    best_loss, final_loss = float(best["validation_loss"]), float(last["validation_loss"])
    rise = final_loss / best_loss if best_loss else math.inf
    best_is_early = best["step"] <= LATEST_BEST_SHARE * last["step"]
    train_loss_falls = last["train_loss"] < best["train_loss"]
    verdict: Verdict | None = (
        "overfits" if rise > MINIMUM_RISE and best_is_early and train_loss_falls else "does not"
    )
    reason = None
    if final_loss == best_loss == 0:
        verdict, reason = None, "the validation loss is 0 where it is best and at the end"
    elif not best_loss:
        reason = "the smallest validation loss is 0"
    elif not math.isfinite(final_loss):
        verdict, reason = None, "the last validation loss is not finite"
    return Overfitting(
        best_step=int(best["step"]),
        best_loss=best_loss,
        final_loss=final_loss,
        rise=rise if math.isfinite(rise) else None,
        gap=final_loss - float(last["train_loss"]),
        verdict=verdict,
        reason=reason,
    )


def overfitting_curves(runs: Sequence[RunView]) -> Figure:
    """Training and validation loss, with the best step marked and the rise shaded; one panel per run."""
    figure, axes = plotting.panel_per_result(runs, _draw_losses, height=3.6, sharey=True)
    validation_losses = [loss for run in runs for loss in run.tables["metrics"]["validation_loss"].tolist()]
    plotting.log_if_wide(axes[0], validation_losses)  # a training loss near 0 would dwarf the rise
    return figure


def _draw_losses(ax: Axes, run: RunView) -> str:
    """Draw the curves of a run; returns the panel's title."""
    metrics = run.tables["metrics"]
    numbers, validation = detect(metrics), metrics["validation_loss"]
    colour = plotting.SPLIT_COLOURS["validation"]
    ax.plot(
        metrics["step"], metrics["train_loss"], "--", color=plotting.SPLIT_COLOURS["train"], label="training"
    )
    ax.plot(metrics["step"], validation, color=colour, label="validation")
    past_best = metrics["step"] >= numbers.best_step
    ax.fill_between(metrics["step"], numbers.best_loss, validation, where=past_best, color=colour, alpha=0.15)
    ax.plot(numbers.best_step, numbers.best_loss, "o", color=colour, markersize=5)
    ax.axvline(numbers.best_step, color="#555555", linewidth=0.8, linestyle=":")
    finding = f"lowest at step {numbers.best_step:,}"
    if numbers.best_step == metrics["step"].iloc[-1]:
        finding = f"lowest at the end, {plotting.scientific(numbers.best_loss)}"
    elif numbers.rise is not None:
        finding += f", then up {numbers.rise:.3g} times"
    verdict = {"overfits": "overfits", "does not": "does not overfit"}.get(
        numbers.verdict or "", "no verdict"
    )
    ax.set_ylabel(loss_label([run]))
    plotting.step_axis(ax, metrics["step"].tolist())
    plotting.legend(ax)
    return f"{run.label}: {verdict}\n{finding}"
