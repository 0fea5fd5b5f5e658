"""Grokking: a net generalises long after it has memorised the training examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon
from nnlab.text import join_words, name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEMORISED_ACCURACY = 0.99  # of the training examples
GENERALISED_ACCURACY = 0.95  # of the held-out examples
MINIMUM_DELAY_RATIO = 10.0
MAXIMUM_TIMES_CHANCE = 3.0  # of the held-out accuracy at memorisation

Verdict = Literal["grokking", "generalised", "memorised", "neither"]


class Grokking(NamedTuple):
    """When a net memorises and when it generalises; accuracies are shares from 0 to 1.

    Held out are the validation examples, or the test examples where there are none.

    Attributes:
        memorisation_step: Training step of the first record with a training accuracy of 99 % or more; null
            if there is none.
        generalisation_step: Training step of the first record with a held-out accuracy of 95 % or more; null
            if there is none.
        delay_ratio: generalisation_step / memorisation_step, step 0 counting as step 1; null if either is.
        chance: Accuracy of a guess, 1 / number of classes.
        validation_at_memorisation: Held-out accuracy at memorisation_step; null without it.
        times_chance: validation_at_memorisation / chance; null without it.
        final_train_accuracy: Training accuracy at the last record.
        final_validation_accuracy: Held-out accuracy at the last record.
        verdict: `grokking`, `generalised`, `memorised` or `neither`, see `grokking`.
        reason: Why numbers are null.
    """

    memorisation_step: int | None
    generalisation_step: int | None
    delay_ratio: float | None
    chance: float
    validation_at_memorisation: float | None
    times_chance: float | None
    final_train_accuracy: float
    final_validation_accuracy: float
    verdict: Verdict
    reason: str | None = None


@phenomenon
def grokking() -> RunPhenomenon:
    """Does a net generalise long after it has memorised?

    Record log-spaced, so that the first steps are resolved. With two or three classes, the bound of three
    times chance says nothing.

    Verdicts:
        grokking: The held-out accuracy ends at 95 % or more, first reaches it at ten times or more the step
            at which the training accuracy reaches 99 %, and was at most three times chance then.
        generalised: The held-out accuracy ends at 95 % or more, without such a delay.
        memorised: Only the training accuracy ends high, at 99 % or more.
        neither: Both end below these bounds.

    Reference:
        Power et al. 2022; Gromov 2023 (the quadratic net); Liu et al. 2022 (Omnigrok: the weight norm).
    """
    return RunPhenomenon(
        result=Grokking,
        detect=detect,
        figures={"grokking": grokking_curves},
        validate=_check_data,
    )


def _check_data(setup: Setup, data: Data) -> None:
    if not data.train.classes:
        raise InvalidValue("grokking is one of a classification; these data have no classes")
    if len(data.splits) == 1:
        raise InvalidValue("grokking is seen on held-out examples; give data.split a validation share")


def detect(run: RunView) -> Grokking:
    """The detector's numbers. Raises InvalidValue if the number of classes is not known, or of one record."""
    metrics, classes = run.tables["metrics"], run.summary.get("classes")
    if not isinstance(classes, int) or classes < 1:
        raise InvalidValue(f"the summary of {run.label} does not say how many classes there are")
    if len(metrics) < 2:
        raise InvalidValue("a delay needs two records or more")
    held_out = metrics[f"{held_out_split(metrics)}_accuracy"]
    return detect_delay(metrics["step"], metrics["train_accuracy"], held_out, 1 / classes)


def held_out_split(metrics: pandas.DataFrame) -> str:
    """The split that shows generalisation: validation, else test."""
    return "validation" if "validation_loss" in metrics else "test"


def detect_delay(
    steps: pandas.Series, train: pandas.Series, held_out: pandas.Series, chance: float
) -> Grokking:
    """The detector's numbers, from the accuracies at each record and that of a guess."""
    memorised, generalised = train >= MEMORISED_ACCURACY, held_out >= GENERALISED_ACCURACY
    memorisation_step = int(steps[memorised].iloc[0]) if memorised.any() else None
    generalisation_step = int(steps[generalised].iloc[0]) if generalised.any() else None
    at_memorisation = float(held_out[memorised].iloc[0]) if memorised.any() else None
    delay_ratio = None
    if memorisation_step is not None and generalisation_step is not None:
        delay_ratio = generalisation_step / max(1, memorisation_step)
    is_delayed = delay_ratio is not None and delay_ratio >= MINIMUM_DELAY_RATIO
    is_near_chance = at_memorisation is not None and at_memorisation <= MAXIMUM_TIMES_CHANCE * chance
    final_train, final_held_out = float(train.iloc[-1]), float(held_out.iloc[-1])
    verdict: Verdict
    if final_held_out >= GENERALISED_ACCURACY:
        verdict = "grokking" if is_delayed and is_near_chance else "generalised"
    else:
        verdict = "memorised" if final_train >= MEMORISED_ACCURACY else "neither"
    never = [
        f"{what} accuracy never reaches {100 * bound:.0f} %"
        for what, bound, step in (
            ("the training", MEMORISED_ACCURACY, memorisation_step),
            ("the held-out", GENERALISED_ACCURACY, generalisation_step),
        )
        if step is None
    ]
    return Grokking(
        memorisation_step=memorisation_step,
        generalisation_step=generalisation_step,
        delay_ratio=delay_ratio,
        chance=chance,
        validation_at_memorisation=at_memorisation,
        times_chance=None if at_memorisation is None else at_memorisation / chance,
        final_train_accuracy=final_train,
        final_validation_accuracy=final_held_out,
        verdict=verdict,
        reason=join_words(never, "and") or None,
    )


def grokking_curves(runs: Sequence[RunView]) -> Figure:
    """Accuracy, loss and weight norm over the logarithm of the step.

    A single run has the two steps marked; several runs have a colour each.
    """
    is_single = len(runs) == 1
    figure, axes = plotting.panels(1, 3, 2.9 + 0.15 * len(runs) * (not is_single))
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        if is_single:
            _draw_curves(axes[0], run, None)
            _mark_steps(axes[0], run)
        else:
            _draw_curves(axes[0], run, colour)
    axes[0][0].set(title="Accuracy", ylabel="accuracy, %", ylim=(-3, 103))
    axes[0][1].set(title="Loss", ylabel=loss_label(runs), yscale="log")
    axes[0][2].set(title="Weight norm", ylabel="norm of all weights", ylim=(0, None))
    for ax in axes[0]:
        plotting.log_step_axis(ax)
    if is_single:
        plotting.figure_title(figure, _finding(runs[0]))
        plotting.legend(axes[0][1], loc="lower left")
    else:
        plotting.colour_legend(figure, [_caption(run) for run in runs], plotting.HELD_OUT_KEY)
    return figure


def _caption(run: RunView) -> str:
    """A run and its verdict: `weight decay 1: grokking, 49 times later`."""
    numbers = detect(run)
    later = "" if numbers.delay_ratio is None else f", {numbers.delay_ratio:.3g} times later"
    return f"{run.label}: {numbers.verdict}{later}"


def _draw_curves(axes: Sequence[Axes], run: RunView, colour: plotting.Colour | None) -> None:
    """Draw the accuracies, losses and weight norm of a run, in this colour, else in those of the splits."""
    metrics = plotting.rows_after_start(run.tables["metrics"])
    for split, style in (("train", "--"), (held_out_split(metrics), "-")):
        shade, label = colour or plotting.SPLIT_COLOURS[split], name_in_words(split)
        for ax, values in (
            (axes[0], 100 * metrics[f"{split}_accuracy"]),
            (axes[1], metrics[f"{split}_loss"]),
        ):
            ax.plot(metrics["step"], values, style, color=shade, label=label)
    axes[2].plot(metrics["step"], metrics["weight_norm"], color=colour or "#000000")


def _mark_steps(axes: Sequence[Axes], run: RunView) -> None:
    """Mark the steps of memorisation and of generalisation."""
    numbers, held_out = detect(run), held_out_split(run.tables["metrics"])
    for ax in axes:
        for step, colour in (
            (numbers.memorisation_step, plotting.SPLIT_COLOURS["train"]),
            (numbers.generalisation_step, plotting.SPLIT_COLOURS[held_out]),
        ):
            if step is not None:
                ax.axvline(max(1, step), color=colour, linewidth=0.8, alpha=0.6)


def _finding(run: RunView) -> str:
    numbers = detect(run)
    facts = [
        f"{accuracy} at step {step:,}"
        for accuracy, step in (
            ("99 % of training right", numbers.memorisation_step),
            ("95 % of held out right", numbers.generalisation_step),
        )
        if step is not None
    ]
    if numbers.delay_ratio is not None:
        facts.append(f"{numbers.delay_ratio:.3g} times later")
    return f"{run.label}: {numbers.verdict}" + (f"; {', '.join(facts)}" if facts else "")
