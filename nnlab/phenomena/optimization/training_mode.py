"""Training mode: the loss as training sees it, with dropout and the batch's own statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.system.imports import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class TrainingMode(NamedTuple):
    """Mean losses over the records of the first half of training, without step 0.

    Attributes:
        training_mode_loss: Loss of the step's batch in training mode.
        evaluation_loss: Loss of the training examples in evaluation mode.
        validation_loss: Loss of the validation examples in evaluation mode.
        gap_to_validation: training_mode_loss - validation_loss, positive where training looks worse than
            validation.
        gap_to_evaluation: training_mode_loss - evaluation_loss, the cost of the mode alone (apart from the
            choice of the batches).
    """

    training_mode_loss: float
    evaluation_loss: float
    validation_loss: float
    gap_to_validation: float
    gap_to_evaluation: float


@phenomenon
def training_mode() -> RunPhenomenon:
    """How much worse does a net look while it trains, with dropout on and by the statistics of its batch?

    The loss of one batch is noisy: record many steps. None of the losses contains penalties.

    Reference:
        Géron 2019, chapter 11 (the same net on Fashion-MNIST: training loss 0.431, validation loss 0.340);
        lecture 004 (dropout).
    """
    return RunPhenomenon(
        probes=(Probe("training_mode", _one_row, ("batch_loss",), _batch_loss),),
        result=TrainingMode,
        detect=lambda run: detect(losses_by_step(run)),
        figures={"training_mode": loss_curves},
        validate=_validate,
    )


def _validate(setup: Setup, data: Data) -> None:
    if data.validation is None:
        raise InvalidValue(
            "training_mode compares with validation examples; give data.split a validation share"
        )


def _one_row(setup: Setup, data: Data) -> RowLabels:
    return {"mode": ["training"]}


def _batch_loss(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    return (snapshot.batch_loss[None],)


def losses_by_step(run: RunView) -> pandas.DataFrame:
    """A row for each record: the metrics, and batch_loss."""
    return run.tables["metrics"].merge(run.tables["training_mode"], on="step")


def detect(table: pandas.DataFrame) -> TrainingMode:
    """The numbers of the records, see `losses_by_step`. Raises InvalidValue where the first half has none."""
    early = table[(table["step"] > 0) & (table["step"] <= table["step"].max() / 2)]
    if early.empty:
        raise InvalidValue("no record lies in the first half of the training, past step 0")
    training, evaluation, validation = (
        float(early[column].mean()) for column in ("batch_loss", "train_loss", "validation_loss")
    )
    return TrainingMode(
        training_mode_loss=training,
        evaluation_loss=evaluation,
        validation_loss=validation,
        gap_to_validation=training - validation,
        gap_to_evaluation=training - evaluation,
    )


def loss_curves(runs: Sequence[RunView]) -> Figure:
    """Batch loss in training mode, training and validation loss in evaluation mode; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        table = losses_by_step(run)
        for column, label, style, width, colour in (
            ("batch_loss", "batch, training mode", "-", 0.8, plotting.COLOURS[5]),
            ("train_loss", "training, evaluation mode", "--", 1.5, plotting.SPLIT_COLOURS["train"]),
            ("validation_loss", "validation", "-", 1.5, plotting.SPLIT_COLOURS["validation"]),
        ):
            ax.plot(table["step"], table[column], style, color=colour, linewidth=width, label=label)
        ax.set_ylabel(loss_label([run]))
        plotting.step_axis(ax, table["step"].tolist())
        plotting.legend(ax)
        gap = detect(table).gap_to_validation
        side = "above" if gap > 0 else "below"
        return f"{run.label}: in the first half training mode is {abs(gap):.3g} {side} validation"

    figure, axes = plotting.panel_per_result(runs, draw, height=3.6, sharey=True)
    validation = [loss for run in runs for loss in losses_by_step(run)["validation_loss"]]
    plotting.log_if_wide(axes[0], validation)  # a training loss near 0 would make the gap look small
    return figure
