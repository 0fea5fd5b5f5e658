"""Translation: how much accuracy is left when the inputs are shifted by a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import image_shape, map_in_blocks, recorded_split
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Translation(NamedTuple):
    """The accuracies, shares from 0 to 1, without a shift and at the greatest one.

    Attributes:
        accuracy_unshifted: Of the inputs as they are.
        accuracy_shifted: At the greatest shift, mean over the directions.
        kept: accuracy_shifted / accuracy_unshifted; null if accuracy_unshifted is 0.
        reason: Why numbers are null.
    """

    accuracy_unshifted: float
    accuracy_shifted: float
    kept: float | None
    reason: str | None = None


@phenomenon
def translation(pixels: Count = 3, examples: Count = 1000) -> RunPhenomenon:
    """How much accuracy is left on inputs shifted by 0, 1, ..., `pixels` pixels?

    A convolutional net keeps more of it than a dense one. The accuracy is the mean over the directions: four
    for an image `[H, W]` or `[H, W, C]`, two for a signal `[L]`. Pixels that a shift uncovers get the least
    value of the training inputs, the background where that is dark. No example is augmented.

    Args:
        pixels: The greatest shift, 1 or more and less than the inputs' height and width.
        examples: Number of test examples (else validation, else train), the first ones, that are shifted.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        _check_inputs(setup, data, pixels)
        shifts = list(range(pixels + 1))
        return {"split": [reported_split(data.splits)] * len(shifts), "shift": shifts}

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        return (_accuracies(snapshot, pixels, examples),)

    return RunPhenomenon(
        probes=(Probe("translation", rows, ("accuracy",), measure, record_at="end"),),
        result=Translation,
        detect=lambda run: detect(run.tables["translation"]),
        figures={"translation": accuracy_by_shift},
        validate=rows,
    )


def _check_inputs(setup: Setup, data: Data, pixels: int) -> None:
    """Raises InvalidValue if the inputs cannot be shifted so far."""
    shape = data.train.inputs.shape[1:]
    if not data.train.classes:
        raise InvalidValue("translation looks at accuracy, and the targets are values; leave it out here")
    if any(leaf.vocabulary is not None for _, leaf in setup.leaves()):
        raise InvalidValue(
            "translation shifts images or signals, and the inputs are tokens; leave it out here"
        )
    height, width, _ = image_shape(shape)
    size = width if len(shape) == 1 else min(height, width)
    if pixels >= size:
        raise InvalidValue(f"must be below {size}, the size of the inputs", ("pixels",))


def detect(table: pandas.DataFrame) -> Translation:
    """The numbers of the table `translation`."""
    unshifted, shifted = (float(table["accuracy"].iloc[row]) for row in (0, -1))
    if not unshifted > 0:
        return Translation(unshifted, shifted, None, "no unshifted example is right")
    return Translation(unshifted, shifted, shifted / unshifted)


def _accuracies(snapshot: Snapshot, pixels: int, examples: int) -> Array:
    """The accuracy at each shift, `[pixels + 1]`."""
    batch = snapshot.examples[reported_split(snapshot.examples)]
    inputs, targets = (part[:examples] for part in batch)
    axes = min(2, inputs.ndim - 1)  # along which inputs are shifted
    padding = [(pixels, pixels) if 1 <= axis <= axes else (0, 0) for axis in range(inputs.ndim)]
    background = snapshot.examples["train"].inputs.min()
    padded = jnp.pad(inputs, padding, constant_values=background)

    def accuracy(corner: Array) -> Array:
        shifted = jax.lax.dynamic_slice(padded, list(corner), inputs.shape)
        return snapshot.loss.correct(map_in_blocks(snapshot.outputs, shifted), targets).mean()

    unshifted = np.zeros((1, inputs.ndim), np.int32)
    steps = np.eye(inputs.ndim, dtype=np.int32)[1 : 1 + axes]
    directions = np.concatenate([steps, -steps])
    shifts = np.concatenate([unshifted, *(size * directions for size in range(1, pixels + 1))])
    accuracies = jax.lax.map(accuracy, jnp.asarray(pixels * steps.sum(0, keepdims=True) + shifts))
    return jnp.concatenate([accuracies[:1], accuracies[1:].reshape(pixels, -1).mean(-1)])


def accuracy_by_shift(runs: Sequence[RunView]) -> Figure:
    """Accuracy against the shift; one line per run."""
    figure, ((ax,),) = plotting.panels()
    tables = [run.tables["translation"] for run in runs]
    looks = zip(plotting.colours(len(runs)), plotting.markers(len(runs)), strict=True)
    for run, table, (colour, marker) in zip(runs, tables, looks, strict=True):
        label = f"{run.label}: from {_finding(detect(table))}"
        ax.plot(
            table["shift"], 100 * table["accuracy"], marker=marker, color=colour, markersize=4, label=label
        )
    splits = dict.fromkeys(name_in_words(recorded_split(table)) for table in tables)
    ax.set(xlabel="shift, pixels", ylabel=f"{' or '.join(splits)} accuracy, %", ylim=(0, 102))
    ax.set_xticks(sorted({shift for table in tables for shift in table["shift"]}))
    several = "Shifted inputs: accuracy unshifted and at the greatest shift"
    pixels = max(shift for table in tables for shift in table["shift"])
    single = f"{label} when shifted by {pixels} pixels"
    ax.set_title(plotting.title(single if len(runs) == 1 else several))
    plotting.legend(ax)
    return figure


def _finding(numbers: Translation) -> str:
    return f"{100 * numbers.accuracy_unshifted:.1f} % to {100 * numbers.accuracy_shifted:.1f} %"
