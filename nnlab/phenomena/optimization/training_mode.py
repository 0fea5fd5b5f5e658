"""Training mode: the loss as training sees it, with dropout and the batch's own statistics.

Sources: lecture 004 (dropout); Géron 2019, chapter 11 (the same net on Fashion-MNIST: training loss 0.431,
validation loss 0.340).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.system.imports import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class TrainingMode(NamedTuple):
    """Means over the records of the first half of training, step 0 left out; null where there are none.

    training_mode_loss: of the step's batch in training mode. evaluation_loss, validation_loss: of the
    training and the validation examples in evaluation mode. gap_to_validation: training_mode_loss -
    validation_loss, positive where training looks worse than validation. gap_to_evaluation:
    training_mode_loss - evaluation_loss, what the mode alone costs (but for the choice of the batches).
    """

    training_mode_loss: float
    evaluation_loss: float
    validation_loss: float
    gap_to_validation: float
    gap_to_evaluation: float


@phenomenon
def training_mode() -> RunPhenomenon:
    """How much worse does a net look while it trains, with dropout on and by the statistics of its batch?

    The loss of one batch is noisy: record many steps. Penalties are part of none of the losses.
    """
    return RunPhenomenon(
        probes=(Probe("training_mode", _one_row, ("batch_loss",), _batch_loss),),
        result=TrainingMode,
        detect=lambda run: summarize(joined(run)),
        figures={"training_mode": mode_curves},
        validate=_check,
    )


def _check(setup: Setup, data: Data) -> None:
    if data.validation is None:
        raise InvalidValue(
            "training_mode compares with validation examples; give data.split a validation share"
        )


def _one_row(setup: Setup, data: Data) -> dict[str, list[Any]]:
    return {"mode": ["training"]}


def _batch_loss(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    return (snapshot.batch_loss[None],)


def joined(run: RunView) -> pandas.DataFrame:
    """A row a record: the metrics, and batch_loss."""
    return run.tables["metrics"].merge(run.tables["training_mode"], on="step")


def summarize(table: pandas.DataFrame) -> TrainingMode:
    """The numbers of the records, see `joined`."""
    early = table[(table["step"] > 0) & (table["step"] <= table["step"].max() / 2)]
    training, evaluation, validation = (
        float(early[column].mean()) for column in ("batch_loss", "train_loss", "validation_loss")
    )
    return TrainingMode(training, evaluation, validation, training - validation, training - evaluation)


def mode_curves(runs: Sequence[RunView]) -> Figure:
    """Batch loss in training mode, training and validation loss in evaluation mode; one panel a run."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 3.9 * len(runs)), sharey=True)
    drawn: list[float] = []
    for ax, run in zip(axes[0], runs, strict=True):
        table = joined(run)
        for column, label, style, width, colour in (
            ("batch_loss", "batch, training mode", "-", 0.8, plotting.COLOURS[5]),
            ("train_loss", "train, evaluation mode", "--", 1.5, plotting.COLOURS[1]),
            ("validation_loss", "validation", "-", 1.5, plotting.COLOURS[0]),
        ):
            ax.plot(table["step"], table[column], style, color=colour, linewidth=width, label=label)
        drawn += table["validation_loss"].tolist()
        gap = summarize(table).gap_to_validation
        says = f"first half: training mode {abs(gap):.3g} {'above' if gap > 0 else 'below'} validation"
        ax.set(title=f"{run.label}\n{says}", ylabel="mean loss")
        plotting.step_axis(ax, table["step"].tolist())
        plotting.legend(ax)
    plotting.log_if_wide(axes[0][0], drawn)  # a training loss near 0 would make the gap look small
    return figure
