"""What augmentation shows a net in place of an example: examples beside changed versions of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.examples import (
    MAXIMUM_TABLE_VALUES,
    displayed,
    image_shape,
    product_rows,
    value_range,
)
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

ROW_COLUMNS = ("example", "version", "row", "column", "channel")
MAXIMUM_FIGURE_IMAGES = 200
MAXIMUM_INPUT_VALUE = 1e30  # a table with a greater one is damaged

UpToTwelve = Annotated[int, Ge(1), Le(12)]


class Augmentations(NamedTuple):
    """How much the versions differ from the examples.

    Attributes:
        mean_change: Mean of |x' - x| over all values of all versions, in standard deviations of the examples'
            values; 0 or more, null if that is 0.
        changed_fraction: Share of the versions, 0 to 1, that differ from their example.
        reason: Why numbers are null.
    """

    mean_change: float | None
    changed_fraction: float
    reason: str | None = None


@phenomenon
def augmentations(examples: UpToTwelve = 4, versions: UpToTwelve = 7) -> RunPhenomenon:
    """How do `augment`'s changes look, on the first training examples?

    Each example is shown beside several changed versions. They are drawn as in training, but are not those
    of training. Examples are mixed with each other only. The table holds all values, with the example itself
    as version 0; a signal has one row.

    Args:
        examples: Number of training examples, the first ones, 1 to 12.
        versions: Number of versions of each, 1 to 12.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        height, width, channels = image_shape(data.train.inputs.shape[1:])
        return product_rows(
            example=range(min(examples, len(data.train))),
            version=range(versions + 1),
            row=range(height),
            column=range(width),
            channel=range(channels),
        )

    def values(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs = snapshot.examples["train"].inputs[:examples]
        keys = jax.random.split(snapshot.key, versions)
        changed = jax.lax.map(lambda key: snapshot.augment(key, inputs), keys)
        return (jnp.concatenate([inputs[None], changed]).swapaxes(0, 1).reshape(-1),)

    def validate(setup: Setup, data: Data) -> None:
        shape = data.train.inputs.shape[1:]
        if len(shape) not in (1, 2, 3) or shape[2:] not in ((), (1,), (3,)):
            raise InvalidValue(
                "augmentations shows signals [L] and images [H, W], [H, W, 1] or [H, W, 3]; "
                f"the inputs are {list(shape)}"
            )
        count = examples * (versions + 1) * math.prod(shape)
        if count > MAXIMUM_TABLE_VALUES:
            raise InvalidValue(f"{count:,} values are too many; show fewer examples or versions")

    return RunPhenomenon(
        probes=(Probe("augmentations", rows, ("value",), values, record_at="start"),),
        result=Augmentations,
        detect=lambda run: detect(run.tables["augmentations"]),
        figures={"augmentations": version_gallery},
        validate=validate,
    )


def version_images(table: pandas.DataFrame) -> np.ndarray:
    """`[examples, versions + 1, H, W, C]` of the table `augmentations`. Raises InvalidValue."""
    refuse_non_numeric(table, [*ROW_COLUMNS, "value"])
    lengths = [table[name].nunique() for name in ROW_COLUMNS]
    values = table["value"].to_numpy(float)
    is_complete = lengths[1] >= 2 and np.prod(lengths, dtype=float) == len(table)
    if not is_complete or not (np.abs(values) < MAXIMUM_INPUT_VALUE).all():
        raise InvalidValue("the table augmentations does not hold a value for each pixel")
    return values.reshape(lengths)


def detect(table: pandas.DataFrame) -> Augmentations:
    """The numbers of the table `augmentations`."""
    images = version_images(table)
    changes = np.abs(images[:, 1:] - images[:, :1])
    deviation = float(images[:, 0].std())
    is_changed = (changes > 0).any(axis=(2, 3, 4))
    return Augmentations(
        mean_change=float(changes.mean()) / deviation if deviation else None,
        changed_fraction=float(is_changed.mean()),
        reason=None if deviation else "the examples' values are all the same",
    )


def version_gallery(runs: Sequence[RunView]) -> Figure:
    """Examples in the first column, their versions beside them; one example per run if there are several."""
    images = [_scaled(version_images(run.tables["augmentations"])) for run in runs]
    columns = min(versions.shape[1] for versions in images)
    if len(runs) == 1:
        rows = {f"example {number}": versions for number, versions in enumerate(images[0], 1)}
    else:
        rows = {run.label: examples[0, :columns] for run, examples in zip(runs, images, strict=True)}
    if len(rows) * columns > MAXIMUM_FIGURE_IMAGES:
        raise InvalidValue(f"{len(rows) * columns:,} pictures are too many for one figure")
    figure = plotting.image_grid(
        {caption: [displayed(image) for image in versions] for caption, versions in rows.items()},
        ["original", *(str(number) for number in range(1, columns))],
        (0.0, 1.0),
    )
    plotting.figure_title(figure, _title(runs))
    return figure


def _scaled(images: np.ndarray) -> np.ndarray:
    """Values shifted and scaled so that those of the examples themselves run from 0 to 1."""
    low, high = value_range(images[:, 0])
    return (images - low) / (high - low if high > low else 1.0)


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) > 1:
        return "Examples changed at random"
    change = detect(runs[0].tables["augmentations"]).mean_change
    if not change:
        return f"{runs[0].label}: nothing is changed"
    return f"{runs[0].label}: values change by {plotting.scientific(change)} standard deviations"
