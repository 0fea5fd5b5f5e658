"""Grokking: the held-out examples are understood long after the training examples are known by heart.

Sources: Power et al. 2022; Gromov 2023 (the quadratic net); Liu et al. 2022 (Omnigrok: the weight norm).
"""

from __future__ import annotations

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

MEMORISED = 0.99  # of the training examples
GENERALISED = 0.95  # of the held-out ones
LEAST_DELAY = 10.0
BY_CHANCE = 3.0  # times chance: as little is known of the held-out examples when the training ones are known


class Grokking(NamedTuple):
    """memorisation_step: of the first record with a training accuracy of 99 % or more. generalisation_step:
    of the first with a held-out accuracy of 95 % or more; held out are the validation examples, or where
    there are none the test examples. delay_ratio: generalisation_step / memorisation_step. chance: 1 / number
    of classes. validation_at_memorisation: held-out accuracy at memorisation_step; times_chance: over
    chance. final_train_accuracy, final_validation_accuracy: at the last record. verdict: see `grokking`.
    """

    memorisation_step: int | None
    generalisation_step: int | None
    delay_ratio: float | None
    chance: float
    validation_at_memorisation: float | None
    times_chance: float | None
    final_train_accuracy: float
    final_validation_accuracy: float
    verdict: str


@phenomenon
def grokking() -> RunPhenomenon:
    """Does a net generalise long after it has memorised?

    The verdict is `grokking` where the held-out accuracy reaches 95 % at ten times or more the step at which
    the training accuracy reaches 99 %, was at most three times chance then, and ends at 95 % or more;
    `generalised` where it ends there without such a delay; `memorised` where only the training examples are
    known in the end; else `neither`. Of two or three classes, three times chance says nothing. Record
    log-spaced, so that the first steps are seen one by one.
    """
    return RunPhenomenon(
        result=Grokking,
        detect=detect,
        figures={"grokking": grokking_curves},
        validate=_check,
    )


def _check(setup: Setup, data: Data) -> None:
    if not data.train.classes:
        raise InvalidValue("grokking is one of a classification; these data have no classes")
    if len(data.splits) == 1:
        raise InvalidValue("grokking is seen on held-out examples; give data.split a validation share")


def detect(run: RunView) -> Grokking:
    """The detector's numbers. Raises InvalidValue where the number of classes is not known."""
    metrics, classes = run.tables["metrics"], run.summary.get("classes")
    if not isinstance(classes, int) or classes < 1:
        raise InvalidValue(f"the summary of {run.label} does not say how many classes there are")
    held_out = metrics[f"{held_out_split(metrics)}_accuracy"]
    return from_accuracies(metrics["step"], metrics["train_accuracy"], held_out, 1 / classes)


def held_out_split(metrics: pandas.DataFrame) -> str:
    """The split that generalisation is read from."""
    return "validation" if "validation_loss" in metrics else "test"


def from_accuracies(
    steps: pandas.Series, train: pandas.Series, validation: pandas.Series, chance: float
) -> Grokking:
    """The numbers of accuracies at each record."""
    known, understood = train >= MEMORISED, validation >= GENERALISED
    memorised = int(steps[known].iloc[0]) if known.any() else None
    generalised = int(steps[understood].iloc[0]) if understood.any() else None
    at_memorisation = float(validation[known].iloc[0]) if known.any() else None
    ratio = None
    if memorised is not None and generalised is not None:
        ratio = generalised / max(1, memorised)
    delayed = ratio is not None and ratio >= LEAST_DELAY
    unaware = at_memorisation is not None and at_memorisation <= BY_CHANCE * chance
    final_train, final = float(train.iloc[-1]), float(validation.iloc[-1])
    if final >= GENERALISED:
        verdict = "grokking" if delayed and unaware else "generalised"
    else:
        verdict = "memorised" if final_train >= MEMORISED else "neither"
    return Grokking(
        memorisation_step=memorised,
        generalisation_step=generalised,
        delay_ratio=ratio,
        chance=chance,
        validation_at_memorisation=at_memorisation,
        times_chance=None if at_memorisation is None else at_memorisation / chance,
        final_train_accuracy=final_train,
        final_validation_accuracy=final,
        verdict=verdict,
    )


def grokking_curves(runs: Sequence[RunView]) -> Figure:
    """Accuracy, loss and weight norm over the logarithm of the step, the two steps marked."""
    figure, axes = plotting.panels(1, 3, width=10.4, height=3.3 + 0.15 * (len(runs) > 1) * len(runs))
    alone = len(runs) == 1
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        metrics = plotting.past_start(run.tables["metrics"])
        split = held_out_split(metrics)
        for part, style, own in (("train", "--", plotting.COLOURS[1]), (split, "-", plotting.COLOURS[0])):
            for ax, what in zip(axes[0], ("accuracy", "loss"), strict=False):
                ax.plot(
                    metrics["step"],
                    (100 if what == "accuracy" else 1) * metrics[f"{part}_{what}"],
                    style,
                    color=own if alone else colour,
                    label=part,
                )
        axes[0][2].plot(
            metrics["step"], metrics["weight_norm"], color=plotting.COLOURS[2] if alone else colour
        )
        if alone:
            _mark_steps(axes[0], detect(run))
    axes[0][0].set(title="Accuracy", ylabel="accuracy, %", ylim=(-3, 103))
    axes[0][1].set(title="Loss", ylabel="mean loss", yscale="log")
    axes[0][2].set(title="Weight norm", ylabel="norm of all weights", ylim=(0, None))
    for ax in axes[0]:
        plotting.log_step_axis(ax)
    if alone:
        figure.suptitle(_outcome(runs[0]), x=0.01, ha="left", fontsize=10)
        plotting.legend(axes[0][1], loc="lower left")
    else:
        words = [f"{run.label}: {detect(run).verdict}" for run in runs]
        plotting.colour_legend(figure, words, "held out solid, train dashed")
    return figure


def _mark_steps(axes: Sequence[Axes], found: Grokking) -> None:
    """Where the training examples are known, and where the held-out ones are understood."""
    for ax in axes:
        for step, colour in (
            (found.memorisation_step, plotting.COLOURS[1]),
            (found.generalisation_step, plotting.COLOURS[0]),
        ):
            if step is not None:
                ax.axvline(max(1, step), color=colour, linewidth=0.8, alpha=0.6)


def _outcome(run: RunView) -> str:
    found = detect(run)
    steps = [
        f"{what} at step {step:,}"
        for what, step in (
            ("99 % train", found.memorisation_step),
            ("95 % held out", found.generalisation_step),
        )
        if step is not None
    ]
    if found.delay_ratio is not None:
        steps.append(f"{found.delay_ratio:.3g} times later")
    return f"{run.label}: {found.verdict}" + (f"; {', '.join(steps)}" if steps else "")
