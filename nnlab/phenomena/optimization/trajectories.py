"""Paths of two weights on one loss surface, across a sweep: over optimizers, momenta, learning rates.

Sources: lectures 002 (momentum) and 004 (optimizers on an elongated bowl); see `trajectory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.optimization.trajectory import Path, draw, surface_of, weights_of

if TYPE_CHECKING:
    import pandas

NUMBERS = ("trajectory.straightness", "trajectory.turns")


class Trajectories(NamedTuple):
    """Of the medians over the seeds at each value of the axis. straightest: the value of greatest
    straightness, in words. greatest_straightness, least_straightness, most_turns, fewest_turns: of all.
    """

    straightest: str
    greatest_straightness: float
    least_straightness: float
    most_turns: float
    fewest_turns: float


@phenomenon
def trajectories(along: str) -> SweepPhenomenon:
    """Which training goes straight to the minimum, and which one zigzags?

    along: the axis of the sweep, such as `optimizer`. Each trial must be examined for `trajectory`. The
    figure shows the first seed of each value; what diverges is left out.
    """
    return SweepPhenomenon(
        result=Trajectories,
        detect=lambda sweep: summarize(sweep, along),
        figures={"trajectories": lambda sweeps: draw([path for one in sweeps for path in paths(one, along)])},
        axis=along,
        numeric_axis=False,
        depends_on=("trajectory",),
    )


def summarize(sweep: SweepView, along: str) -> Trajectories:
    """The numbers of the trials. Raises InvalidValue."""
    refuse_non_numeric(sweep.trials, NUMBERS)
    if sweep.trials["trajectory.straightness"].isna().all():
        raise InvalidValue("no trial is complete and has moved")
    values = _labelled(sweep.trials, sweep_column(sweep, along)).groupby("label", sort=False)
    straightness, turns = (values[name].median() for name in NUMBERS)
    return Trajectories(
        straightest=str(straightness.idxmax()),
        greatest_straightness=float(straightness.max()),
        least_straightness=float(straightness.min()),
        most_turns=float(turns.max()),
        fewest_turns=float(turns.min()),
    )


def _labelled(table: pandas.DataFrame, column: str) -> pandas.DataFrame:
    """A table with each value of an axis in a few words, as `label`."""
    return table.assign(label=[_in_words(cell) for cell in table[column]])


def _in_words(cell: Any) -> str:
    """A cell of trials.csv without the marks of its YAML: `sgd, learning_rate: 0.9`."""
    return str(cell).removeprefix("{").removesuffix("}").replace("type: ", "")


def paths(sweep: SweepView, along: str) -> list[Path]:
    """The path of the first seed at each value. Raises InvalidValue."""
    rows, surfaces = sweep.joined("trajectory"), sweep.joined("surface")
    found = []
    for label, part in _labelled(rows, sweep_column(sweep, along)).groupby("label", sort=False):
        trial = part["trial"].iloc[part["seed"].argmin()]
        one, surface = (table[table["trial"] == trial] for table in (part, surfaces))
        found.append(Path(str(label), weights_of(one), surface_of(surface), sweep.label))
    return found
