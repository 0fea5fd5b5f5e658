"""Trajectories of two weights on one loss surface, across a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.optimization.trajectory import read_surface, read_weights
from nnlab.phenomena.optimization.trajectory_figure import LabelledTrajectory, draw_trajectories
from nnlab.text import label_in_words

if TYPE_CHECKING:
    import pandas

NUMBERS = ("trajectory.straightness", "trajectory.turns")


class Trajectories(NamedTuple):
    """Medians over the seeds at each value of the axis, see `trajectory` for straightness and turns.

    Attributes:
        straightest: The value of greatest straightness, in words.
        greatest_straightness: Of all values; 0 to 1.
        least_straightness: Of all values; 0 to 1.
        most_turns: Of all values.
        fewest_turns: Of all values.
    """

    straightest: str
    greatest_straightness: float
    least_straightness: float
    most_turns: float
    fewest_turns: float


@phenomenon
def trajectories(along: str) -> SweepPhenomenon:
    """Which training goes straight to the minimum, and which one zigzags?

    Each trial must be examined for `trajectory`. The figure shows the first seed of each value; what diverges
    is left out.

    Args:
        along: The axis of the sweep, such as `optimizer`.

    Reference:
        Lectures 002 (momentum) and 004 (optimizers on an elongated bowl).
    """
    return SweepPhenomenon(
        result=Trajectories,
        detect=lambda sweep: detect(sweep, along),
        figures={
            "trajectories": lambda sweeps: draw_trajectories(
                [trajectory for sweep in sweeps for trajectory in first_seeds(sweep, along)]
            )
        },
        axis=along,
        numeric_axis=False,
        depends_on=("trajectory",),
    )


def detect(sweep: SweepView, along: str) -> Trajectories:
    """The numbers of a sweep. Raises InvalidValue."""
    refuse_non_numeric(sweep.completed_trials, NUMBERS)
    if sweep.completed_trials["trajectory.straightness"].isna().all():
        raise InvalidValue("no trial is complete and has moved")
    by_value = _with_labels(sweep.completed_trials, sweep_column(sweep, along)).groupby("label", sort=False)
    straightness, turns = (by_value[name].median() for name in NUMBERS)
    return Trajectories(
        straightest=str(straightness.idxmax()),
        greatest_straightness=float(straightness.max()),
        least_straightness=float(straightness.min()),
        most_turns=float(turns.max()),
        fewest_turns=float(turns.min()),
    )


def _with_labels(table: pandas.DataFrame, column: str) -> pandas.DataFrame:
    """A table with each value of an axis in a few words, as `label`."""
    return table.assign(label=[_in_words(cell) for cell in table[column]])


def _in_words(cell: object) -> str:
    """A cell of trials.csv without the marks of its YAML: `sgd, learning_rate: 0.9`."""
    return str(cell).removeprefix("{").removesuffix("}").replace("type: ", "")


def _spoken(label: str) -> str:
    """A label as a figure has it: `sgd, learning rate 0.9`."""
    return label_in_words(label.replace(": ", " "))


def first_seeds(sweep: SweepView, along: str) -> list[LabelledTrajectory]:
    """The trajectory of the first seed at each value. Raises InvalidValue."""
    weights, surfaces, numbers = sweep.joined("trajectory"), sweep.joined("surface"), detect(sweep, along)
    straightest = _spoken(numbers.straightest)
    found = f"straightest is {straightest}, {numbers.greatest_straightness:.2f} of 1"
    trajectories = []
    for label, rows in _with_labels(weights, sweep_column(sweep, along)).groupby("label", sort=False):
        trial = rows["trial"].iloc[rows["seed"].argmin()]
        path = read_weights(rows[rows["trial"] == trial])
        surface = read_surface(surfaces[surfaces["trial"] == trial])
        trajectories.append(LabelledTrajectory(_spoken(str(label)), path, surface, f"{sweep.label}: {found}"))
    return trajectories
