"""Translation: how much accuracy is left when the inputs are shifted by a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import in_blocks, judged, picture_shape, split_of
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Translation(NamedTuple):
    """accuracy_unshifted: of the inputs as they are. accuracy_shifted: at the greatest shift. kept: the one
    over the other; null where nothing is right unshifted.
    """

    accuracy_unshifted: float
    accuracy_shifted: float
    kept: float | None


@phenomenon
def translation(pixels: Count = 3, examples: Count = 1000) -> RunPhenomenon:
    """Accuracy on inputs shifted by 0, 1, ..., `pixels` pixels: a convolutional net keeps more of it.

    The mean over the directions, four of an image `[H, W]` or `[H, W, C]`, two of a signal `[L]`; what comes
    into sight is the least value of the training inputs, which is background where that is dark. Of the test
    examples (else validation, else train) the first so many, none of them augmented.
    """

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        _check(setup, data, pixels)
        split = judged(data.splits)
        shifts = list(range(pixels + 1))
        return {"split": [split] * len(shifts), "shift": shifts}

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        return (_accuracies(snapshot, pixels, examples),)

    return RunPhenomenon(
        probes=(Probe("translation", rows, ("accuracy",), measure, record_at="end"),),
        result=Translation,
        detect=lambda run: summarize(run.tables["translation"]),
        figures={"translation": accuracy_by_shift},
        validate=rows,
    )


def _check(setup: Setup, data: Data, pixels: int) -> None:
    shape = data.train.inputs.shape[1:]
    if not data.train.classes:
        raise InvalidValue("translation looks at accuracy, and the targets are values; leave it out here")
    if any(leaf.vocabulary is not None for _, leaf in setup.leaves()):
        raise InvalidValue(
            "translation shifts images or signals, and the inputs are tokens; leave it out here"
        )
    height, width, _ = picture_shape(shape)
    least = width if len(shape) == 1 else min(height, width)
    if pixels >= least:
        raise InvalidValue(f"must be below {least}, the size of the inputs", ("pixels",))


def summarize(table: pandas.DataFrame) -> Translation:
    """The numbers of the table `translation`."""
    unshifted, shifted = (float(table["accuracy"].iloc[place]) for place in (0, -1))
    return Translation(unshifted, shifted, shifted / unshifted if unshifted > 0 else None)


def _accuracies(snapshot: Snapshot, pixels: int, examples: int) -> Array:
    """The accuracy at each shift, `[pixels + 1]`."""
    inputs, targets = (part[:examples] for part in snapshot.examples[judged(snapshot.examples)])
    sides = min(2, inputs.ndim - 1)
    filling = [(pixels, pixels) if 1 <= axis <= sides else (0, 0) for axis in range(inputs.ndim)]
    background = snapshot.examples["train"].inputs.min()
    padded = jnp.pad(inputs, filling, constant_values=background)

    def accuracy(corner: Array) -> Array:
        moved = jax.lax.dynamic_slice(padded, list(corner), inputs.shape)
        return snapshot.loss.correct(in_blocks(snapshot.outputs, moved), targets).mean()

    still, steps = np.zeros((1, inputs.ndim), np.int32), np.eye(inputs.ndim, dtype=np.int32)[1 : 1 + sides]
    directions = np.concatenate([steps, -steps])
    moves = np.concatenate([still, *(shift * directions for shift in range(1, pixels + 1))])
    found = jax.lax.map(accuracy, jnp.asarray(pixels * steps.sum(0, keepdims=True) + moves))
    return jnp.concatenate([found[:1], found[1:].reshape(pixels, -1).mean(-1)])


def accuracy_by_shift(runs: Sequence[RunView]) -> Figure:
    """Accuracy against the shift, a line a run."""
    figure, ((ax,),) = plotting.panels()
    tables = [run.tables["translation"] for run in runs]
    for run, table, colour in zip(runs, tables, plotting.colours(len(runs)), strict=True):
        label = f"{run.label}: {_in_words(summarize(table))}"
        ax.plot(table["shift"], 100 * table["accuracy"], "-o", color=colour, markersize=3, label=label)
    splits = dict.fromkeys(split_of(table) for table in tables)
    ax.set(xlabel="shift, pixels", ylabel=f"{' or '.join(splits)} accuracy, %", ylim=(0, 102))
    ax.set_xticks(sorted({shift for table in tables for shift in table["shift"]}))
    ax.set_title(label if len(runs) == 1 else "Shifted inputs: accuracy unshifted and at the greatest shift")
    plotting.legend(ax)
    return figure


def _in_words(found: Translation) -> str:
    return f"{100 * found.accuracy_unshifted:.1f} % to {100 * found.accuracy_shifted:.1f} %"
