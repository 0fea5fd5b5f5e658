"""The table of answers: whether the net is right about each pair of operands, over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.datasets.arithmetic import decode_pairs
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_PER_RUN = 5
MAXIMUM_OPERANDS = 200
MAXIMUM_PAIRS = MAXIMUM_OPERANDS**2
MAXIMUM_AXIS_CELLS = 10 * MAXIMUM_OPERANDS  # of a drawn table: with pairs left out, operands may be larger
TRAIN_STEP_ACCURACY = 0.99  # the step of the first panel
HELD_OUT_STEP_ACCURACIES = (0.1, 0.5, 0.95)  # the steps of the next ones
CELL_COLOURS = {  # in the order of their codes, 2 * held out + right
    "training, wrong": "#b3b3b3",
    "training, right": "#4d4d4d",
    "held out, wrong": plotting.COLOURS[5],
    "held out, right": plotting.SPLIT_COLOURS["validation"],
}


class Answers(NamedTuple):
    """Which pairs of operands are answered correctly, and since when.

    Attributes:
        pairs: Number of pairs, of all splits.
        never_right: Share of the held-out pairs, 0 to 1, that are right at no record; null if there are none.
        median_lasting_step: Training step from which on a held-out pair stays right, median over the pairs
            that are right at the last record; null if there are none.
        reason: Why numbers are null.
    """

    pairs: int
    never_right: float | None
    median_lasting_step: float | None
    reason: str | None = None


@phenomenon
def answers() -> RunPhenomenon:
    """Which pairs of operands does a net answer correctly, at each record, for data of modular_arithmetic?

    The figure is the p x p table of right and wrong answers. The recorded table has one row per pair and
    record, so record sparsely: {log_spaced: 60}.
    """
    return RunPhenomenon(
        probes=(Probe("answers", _pair_rows, ("right",), _right_answers, evaluates_all_examples=True),),
        result=Answers,
        detect=lambda run: detect(run.tables["answers"]),
        figures={"answers": answer_tables},
        validate=_pair_rows,
    )


def detect(table: pandas.DataFrame) -> Answers:
    """The numbers of the table `answers`."""
    held_out = table[table["split"] != "train"]
    right = held_out.pivot(index="step", columns=["x", "y"], values="right").to_numpy() > 0.5
    steps = np.sort(held_out["step"].unique())
    # for each pair, the number of records up to the last at which it is right without a break
    lasting_records = np.cumprod(right[::-1], axis=0).sum(0) if right.size else np.empty(0, int)
    lasting_steps = steps[len(steps) - lasting_records[lasting_records > 0]]
    return Answers(
        pairs=int((table["step"] == table["step"].min()).sum()),
        never_right=float(1 - right.any(0).mean()) if right.size else None,
        median_lasting_step=float(np.median(lasting_steps)) if lasting_steps.size else None,
        reason=None
        if lasting_steps.size
        else "no held-out pair is right at the last record"
        if right.size
        else "no pair is held out",
    )


def _pair_rows(setup: Setup, data: Data) -> RowLabels:
    """One row per pair of operands: its split, x and y. Raises InvalidValue if the data are no pairs."""
    operands = data.train.classes
    if not operands or sum(len(examples) for examples in data.splits.values()) > MAXIMUM_PAIRS:
        raise InvalidValue(
            f"answers keeps each pair of modular_arithmetic at every record, of {MAXIMUM_PAIRS:,} at most; "
            "leave it out here"
        )
    inputs = np.concatenate([np.asarray(examples.inputs) for examples in data.splits.values()])
    x, y, _ = decode_pairs(inputs, operands)
    split = [name for name, examples in data.splits.items() for _ in range(len(examples))]
    return {"split": split, "x": x.tolist(), "y": y.tolist()}


def _right_answers(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """Whether each answer is right, 1 or 0, `[pairs]`."""
    right = [
        snapshot.loss.correct(snapshot.outputs(batch.inputs), batch.targets)
        for batch in snapshot.examples.values()
    ]
    return (jnp.concatenate(right).astype(jnp.int32),)


def answer_tables(runs: Sequence[RunView]) -> Figure:
    """Right and wrong answers at some steps, from when the training pairs are known on; one row per run."""
    figure, axes = plotting.panels(len(runs), PANELS_PER_RUN, 1.9 * len(runs) + 0.6)
    for row, run in zip(axes, runs, strict=True):
        table = run.tables["answers"]
        for ax, step in zip(row, _panel_steps(table), strict=True):
            _draw_answers(ax, table[table["step"] == step], step)
        row[0].set_ylabel("first operand" if len(runs) == 1 else f"{run.label}\nfirst operand")
    plotting.figure_title(figure, "; ".join(map(_finding, runs)))
    plotting.patch_legend(figure, CELL_COLOURS)
    return figure


def _finding(run: RunView) -> str:
    numbers = detect(run.tables["answers"])
    if numbers.median_lasting_step is None:
        return f"{run.label}: {numbers.reason}"
    return (
        f"{run.label}: half of the held-out pairs stay right from step {numbers.median_lasting_step:,.0f} on"
    )


def _draw_answers(ax: Axes, answers_of_step: pandas.DataFrame, step: int) -> None:
    """Draw one record as a table of cells. Raises InvalidValue if it would be too large."""
    if answers_of_step[["x", "y"]].to_numpy(float).max() >= MAXIMUM_AXIS_CELLS:
        raise InvalidValue("the operands of the table 'answers' are too large for a table of pairs")
    x, y = answers_of_step["x"].to_numpy(), answers_of_step["y"].to_numpy()
    is_held_out = answers_of_step["split"] != "train"
    cells = np.full((x.max() + 1, y.max() + 1), np.nan)
    cells[x, y] = (2 * is_held_out + (answers_of_step["right"] > 0)).to_numpy(int)
    plotting.category_grid(ax, cells, list(CELL_COLOURS.values()))
    held_out = answers_of_step[is_held_out]
    accuracy = f"{100 * held_out['right'].mean():.0f} % held out" if len(held_out) else ""
    ax.set_title(f"step {step:,}\n{accuracy}", fontsize=plotting.SMALL_SIZE)
    ax.set_xlabel("second operand")
    ax.tick_params(labelsize=plotting.SMALL_SIZE)


def _panel_steps(table: pandas.DataFrame) -> list[int]:
    """Steps to show: when the training pairs are first known, when 10, 50 and 95 % of the held-out ones are,
    and the last; the others evenly spread over the records."""
    steps = sorted(table["step"].unique().tolist())
    is_held_out = table["split"] != "train"
    accuracies = table.assign(held_out=is_held_out).groupby(["held_out", "step"])["right"].mean()
    train = accuracies[False]
    held_out = accuracies.get(True, train)
    shown = {steps[-1]} | _first_steps(train, TRAIN_STEP_ACCURACY)
    for accuracy in HELD_OUT_STEP_ACCURACIES:
        shown |= _first_steps(held_out, accuracy)
    for i in plotting.evenly_spaced_indices(len(steps), PANELS_PER_RUN):
        shown |= {steps[i]} if len(shown) < min(PANELS_PER_RUN, len(steps)) else set()
    return (sorted(shown) + [steps[-1]] * PANELS_PER_RUN)[:PANELS_PER_RUN]


def _first_steps(accuracies: pandas.Series, bound: float) -> set[int]:
    """The first step whose accuracy reaches a bound, or none."""
    return set(accuracies[accuracies >= bound].index[:1].tolist())
