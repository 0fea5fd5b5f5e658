"""Overfitting: the validation loss rises again while the training loss goes on falling.

Sources: lectures 001 (early stopping) and 002 (validation set; training for too many epochs); Prechelt 1998.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_RISE = 1.1
LATEST = 0.9  # of all steps: a best record after that is the end of a curve that was still falling


class Overfitting(NamedTuple):
    """best_step, best_loss: of the smallest validation loss of all records. final_loss: validation loss at
    the last record. rise: final_loss / best_loss. gap: final_loss - training loss, at the last record.
    verdict: see `overfitting`.
    """

    best_step: int
    best_loss: float
    final_loss: float
    rise: float
    gap: float
    verdict: str


@phenomenon
def overfitting() -> RunPhenomenon:
    """Does the validation loss rise again, while the training loss falls?

    The verdict is `overfits` where the validation loss ends more than a tenth above its smallest value, that
    lies in the first nine tenths of the steps, and the training loss has fallen since; else `does not`. So
    it is `does not` where a training that diverges makes both rise.
    """
    return RunPhenomenon(
        result=Overfitting,
        detect=lambda run: detect(run.tables["metrics"]),
        figures={"overfitting": overfitting_curves},
        validate=_check,
    )


def _check(setup: Setup, data: Data) -> None:
    if data.validation is None:
        raise InvalidValue("overfitting is seen on validation examples; give data.split a validation share")


def detect(metrics: pandas.DataFrame) -> Overfitting:
    """The detector's numbers of the table `metrics`."""
    best, last = metrics.iloc[metrics["validation_loss"].fillna(math.inf).argmin()], metrics.iloc[-1]
    least, final = float(best["validation_loss"]), float(last["validation_loss"])
    rise = final / least if least else 1.0 if final == 0 else math.inf
    early, falling = best["step"] <= LATEST * last["step"], last["train_loss"] < best["train_loss"]
    return Overfitting(
        best_step=int(best["step"]),
        best_loss=least,
        final_loss=final,
        rise=rise,
        gap=final - float(last["train_loss"]),
        verdict="overfits" if rise > LEAST_RISE and early and falling else "does not",
    )


def overfitting_curves(runs: Sequence[RunView]) -> Figure:
    """Training and validation loss, the best step marked and the rise from there shaded; one panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 3.9 * len(runs)), sharey=True)
    drawn: list[float] = []
    for ax, run in zip(axes[0], runs, strict=True):
        metrics = run.tables["metrics"]
        if len(metrics) < 2:
            raise InvalidValue("a curve needs two records or more")
        _draw(ax, run, detect(metrics))
        drawn += metrics["validation_loss"].tolist()
    plotting.log_if_wide(axes[0][0], drawn)  # a training loss near 0 would make the rise look small
    return figure


def _draw(ax: Axes, run: RunView, found: Overfitting) -> None:
    metrics = run.tables["metrics"]
    validation = metrics["validation_loss"]
    ax.plot(metrics["step"], metrics["train_loss"], "--", color=plotting.COLOURS[1], label="train")
    ax.plot(metrics["step"], validation, color=plotting.COLOURS[0], label="validation")
    since = metrics["step"] >= found.best_step
    ax.fill_between(
        metrics["step"], found.best_loss, validation, where=since, color=plotting.COLOURS[0], alpha=0.15
    )
    ax.plot(found.best_step, found.best_loss, "o", color=plotting.COLOURS[0], markersize=5)
    ax.axvline(found.best_step, color="#555555", linewidth=0.8, linestyle=":")
    says = f"best at step {found.best_step:,}, ends {found.rise:.3g} times as high"
    verdict = "overfits" if found.verdict == "overfits" else "does not overfit"
    ax.set(title=f"{run.label}: {verdict}\n{says}", ylabel="mean loss")
    plotting.step_axis(ax, metrics["step"].tolist())
    plotting.legend(ax)
