"""The table of answers: for each pair of operands, whether the net is right, over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.datasets.arithmetic import decode_pairs
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

PANELS = 5
MOST_PAIRS = 200**2
SPARSE = 10  # times the most operands of which all pairs are kept: where data are left out, there are more
CELLS = {  # what a cell says -> its colour; the number of an entry is 2 * held out + right
    "train, wrong": "#b3b3b3",
    "train, right": "#4d4d4d",
    "held out, wrong": plotting.COLOURS[1],
    "held out, right": plotting.COLOURS[0],
}


class Answers(NamedTuple):
    """pairs: how many there are. never_right: of the held-out pairs, the share that is right at no record.
    median_lasting_step: of those right at the last record, the median of the step from which on each stayed
    right.
    """

    pairs: int
    never_right: float | None
    median_lasting_step: float | None


@phenomenon
def answers() -> RunPhenomenon:
    """The p x p table of answers right and wrong, at every record, for data of modular_arithmetic.

    Keeps a row a pair and record, so record sparsely: {log_spaced: 60}.
    """
    return RunPhenomenon(
        probes=(Probe("answers", _pairs, ("right",), _right, evaluates_all_examples=True),),
        result=Answers,
        detect=lambda run: summarize(run.tables["answers"]),
        figures={"answers": answer_tables},
        validate=_pairs,
    )


def summarize(table: pandas.DataFrame) -> Answers:
    """The numbers of the table `answers`."""
    held_out = table[table["split"] != "train"]
    right = held_out.pivot(index="step", columns=["x", "y"], values="right").to_numpy() > 0.5
    steps = np.sort(held_out["step"].unique())
    since = np.cumprod(right[::-1], axis=0).sum(0) if right.size else np.empty(0, int)  # records, at the end
    lasting = steps[len(steps) - since[since > 0]]
    return Answers(
        pairs=int((table["step"] == table["step"].min()).sum()),
        never_right=float(1 - right.any(0).mean()) if right.size else None,
        median_lasting_step=float(np.median(lasting)) if lasting.size else None,
    )


def _pairs(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """A row a pair of operands: its split, x and y. Raises InvalidValue where the data are none."""
    operands = data.train.classes
    if not operands or sum(len(part) for part in data.splits.values()) > MOST_PAIRS:
        raise InvalidValue(
            f"answers keeps each pair of modular_arithmetic at every record, of {MOST_PAIRS:,} at most; "
            "leave it out here"
        )
    x, y, _ = decode_pairs(np.concatenate([part.inputs for part in data.splits.values()]), operands)
    split = [name for name, part in data.splits.items() for _ in range(len(part))]
    return {"split": split, "x": x.tolist(), "y": y.tolist()}


def _right(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """1 for each pair whose answer is right, 0 for the others."""
    found = [
        snapshot.loss.correct(snapshot.outputs(part.inputs), part.targets)
        for part in snapshot.examples.values()
    ]
    return (jnp.concatenate(found).astype(jnp.int32),)


def answer_tables(runs: Sequence[RunView]) -> Figure:
    """Which answers are right at some steps, from when the training pairs are known on; a row a run."""
    figure, axes = plotting.panels(len(runs), PANELS, width=2.1 * PANELS, height=2.5 * len(runs) + 0.4)
    for row, run in zip(axes, runs, strict=True):
        table = run.tables["answers"]
        for ax, step in zip(row, _chosen(table), strict=True):
            now = table[table["step"] == step]
            if now[["x", "y"]].to_numpy(float).max() >= MOST_PAIRS**0.5 * SPARSE:
                raise InvalidValue("the operands of the table 'answers' are too large for a table of pairs")
            code = (2 * (now["split"] != "train") + (now["right"] > 0)).to_numpy(int)
            cells = np.full((now["x"].max() + 1, now["y"].max() + 1), np.nan)
            cells[now["x"].to_numpy(), now["y"].to_numpy()] = code
            plotting.coded_cells(ax, cells, list(CELLS.values()))
            held_out = now[now["split"] != "train"]
            share = f"{100 * held_out['right'].mean():.0f} % of held out" if len(held_out) else ""
            ax.set_title(f"step {step:,}\n{share}", fontsize=8)
            ax.set_xlabel("y", fontsize=7)
            ax.tick_params(labelsize=6)
        row[0].set_ylabel(f"{run.label}\nx", fontsize=7)
    plotting.patch_legend(figure, CELLS)
    return figure


def _chosen(table: pandas.DataFrame) -> list[int]:
    """Steps to show: when the training pairs are first known, when 10, 50 and 95 % of the held-out ones are,
    and the last; the others evenly spread over the records."""
    steps = sorted(table["step"].unique().tolist())
    shares = table.assign(held_out=table["split"] != "train").groupby(["held_out", "step"])["right"].mean()
    wanted = [(False, 0.99), (True, 0.1), (True, 0.5), (True, 0.95)]
    found = {steps[-1]}
    for held_out, share in wanted:
        reached = shares[held_out] if held_out in shares else shares[False]
        found |= set(reached[reached >= share].index[:1].tolist())
    for i in plotting.spread_over(len(steps), PANELS):
        found |= {steps[i]} if len(found) < min(PANELS, len(steps)) else set()
    spread = sorted(found)
    return (spread + [steps[-1]] * PANELS)[:PANELS]
