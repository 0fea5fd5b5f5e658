"""What augmentation shows a net in the place of an example: some examples, each as it is and changed anew."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

LABELS = ("example", "version", "row", "column", "channel")
MOST_VALUES = 10**6  # of the table: a row each
MOST_PICTURES = 200  # of one figure
LARGEST = 1e30  # no value of an input is beyond

Few = Annotated[int, Ge(1), Le(12)]


class Augmentations(NamedTuple):
    """mean_change: the mean of |x' - x| over all values of all versions, in units of the examples' standard
    deviation; null where that is 0. changed_fraction: of the versions, those that differ from the example.
    """

    mean_change: float | None
    changed_fraction: float


@phenomenon
def augmentations(examples: Few = 4, versions: Few = 7) -> RunPhenomenon:
    """How do `augment`'s changes look? The first training examples, each with so many versions of it.

    The table holds their values, version 0 the example itself; a signal has one row. The versions are drawn
    as those of training are, but are none of them. Of mixed examples the partners are those shown.
    """

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        shown = min(examples, len(data.train))
        ranges = [shown, versions + 1, *_as_image(data.train.inputs.shape[1:])]
        cells = list(itertools.product(*map(range, ranges)))
        return {label: [cell[i] for cell in cells] for i, label in enumerate(LABELS)}

    def values(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs = snapshot.examples["train"].inputs[:examples]
        keys = jax.random.split(snapshot.key, versions)
        changed = jax.lax.map(lambda key: snapshot.augment(key, inputs), keys)
        return (jnp.concatenate([inputs[None], changed]).swapaxes(0, 1).reshape(-1),)

    def check(setup: Setup, data: Data) -> None:
        shape = data.train.inputs.shape[1:]
        if len(shape) not in (1, 2, 3) or shape[2:] not in ((), (1,), (3,)):
            raise InvalidValue(
                "augmentations shows signals [L] and images [H, W], [H, W, 1] or [H, W, 3]; "
                f"the inputs are {list(shape)}"
            )
        count = examples * (versions + 1) * data.train.inputs[0].size
        if count > MOST_VALUES:
            raise InvalidValue(f"{count:,} values are too many; show fewer examples or versions")

    return RunPhenomenon(
        probes=(Probe("augmentations", rows, ("value",), values, record_at="start"),),
        result=Augmentations,
        detect=lambda run: summarize(run.tables["augmentations"]),
        figures={"augmentations": gallery},
        validate=check,
    )


def _as_image(shape: Shape) -> Shape:
    """`(H, W, C)`; a signal is one row."""
    return {1: (1, *shape, 1), 2: (*shape, 1), 3: shape}[len(shape)]


def pictures_of(table: pandas.DataFrame) -> np.ndarray:
    """`[examples, versions + 1, H, W, C]` of the table `augmentations`. Raises InvalidValue."""
    refuse_non_numeric(table, [*LABELS, "value"])
    lengths = [table[label].nunique() for label in LABELS]
    values = table["value"].to_numpy(float)
    if lengths[1] < 2 or np.prod(lengths, dtype=float) != len(table) or not (np.abs(values) < LARGEST).all():
        raise InvalidValue("the table augmentations does not hold a value for each pixel")
    return values.reshape(lengths)


def summarize(table: pandas.DataFrame) -> Augmentations:
    """The numbers of the table `augmentations`."""
    pictures = pictures_of(table)
    changes = np.abs(pictures[:, 1:] - pictures[:, :1])
    deviation = float(pictures[:, 0].std())
    changed = (changes > 0).any(axis=(2, 3, 4))
    return Augmentations(float(changes.mean()) / deviation if deviation else None, float(changed.mean()))


def gallery(runs: Sequence[RunView]) -> Figure:
    """Examples in the first column, their versions beside them; of several runs one example each."""
    found = [_graded(pictures_of(run.tables["augmentations"])) for run in runs]
    columns = min(pictures.shape[1] for pictures in found)
    if len(runs) == 1:
        rows = {f"example {number}": shown for number, shown in enumerate(found[0], 1)}
    else:
        rows = {run.label: pictures[0, :columns] for run, pictures in zip(runs, found, strict=True)}
    if len(rows) * columns > MOST_PICTURES:
        raise InvalidValue(f"{len(rows) * columns:,} pictures are too many for one figure")
    figure = plotting.image_grid(
        {caption: [_drawable(picture) for picture in shown] for caption, shown in rows.items()},
        ["original", *(str(number) for number in range(1, columns))],
        (0.0, 1.0),
    )
    figure.suptitle(_title(runs))
    return figure


def _graded(pictures: np.ndarray) -> np.ndarray:
    """0 for the least value of the examples themselves, 1 for the greatest."""
    low, high = pictures[:, 0].min(), pictures[:, 0].max()
    return (pictures - low) / (high - low if high > low else 1.0)


def _drawable(picture: np.ndarray) -> np.ndarray:
    """One row is a signal."""
    return picture.reshape(-1) if picture.shape[::2] == (1, 1) else picture


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) > 1:
        return "Examples changed at random"
    change = summarize(runs[0].tables["augmentations"]).mean_change
    if not change:
        return f"{runs[0].label}: nothing is changed"
    return f"{runs[0].label}: values change by {plotting.scientific(change)} standard deviations"
