"""Samples: examples that a generative model draws, beside those that it was trained on."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.nn.model import sampling
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.examples import (
    MAXIMUM_TABLE_VALUES,
    MINIMUM_IMAGE_VALUES,
    displayed,
    image_shape,
    images_in,
    pixel_rows,
    value_range,
)
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COMPARED = 512  # samples, and held-out examples, whose distances are measured
SHOWN_RECORDS = 4  # of a run in a figure
SHOWN_IMAGES = 10  # of a record
CAPTION_CHARACTERS = 10  # in a line
DISTANCES = ("distance", "held_out_distance", "spread", "held_out_spread")


class Samples(NamedTuple):
    """How samples lie among the examples, at the end; distances are Euclidean, in the inputs' units.

    Attributes:
        distance: Mean distance of a sample from the training example next to it.
        over_held_out: The same over that of the test examples (else validation): 1 where samples are as near
            to the training examples as other examples are, 0 where they are copies. Null where that is 0.
        spread: Mean distance between two samples over that between two test examples: 0 where all samples are
            one. Null where that is 0.
        reason: Why numbers are null.
    """

    distance: float
    over_held_out: float | None
    spread: float | None
    reason: str | None = None


@phenomenon
def samples(shown: Count = 10) -> RunPhenomenon:
    """What does a generative model draw, and how near does it come to the examples?

    For a last layer that draws examples, such as `rbm`. The same random numbers are drawn at each record.

    Args:
        shown: How many samples of each record are kept for the figure.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        return pixel_rows(image_shape(data.train.inputs.shape[1:]), sample=range(shown))

    def check(setup: Setup, data: Data) -> None:
        if sampling(setup) is None:
            raise InvalidValue("samples needs a last layer that draws examples, such as rbm")
        if len(data.splits) < 2:
            raise InvalidValue(
                "samples needs test or validation examples to compare with; give data.split some"
            )
        rows(setup, data)

    def draw(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        return (snapshot.sample(snapshot.key, shown).reshape(-1),)

    def examples(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs = snapshot.examples["train"].inputs
        return (inputs[np.arange(shown) % inputs.shape[0]].reshape(-1),)

    return RunPhenomenon(
        probes=(
            Probe("samples", rows, ("value",), draw, passes=lambda data: shown, evaluates_all_examples=True),
            Probe("sampled_examples", rows, ("value",), examples, record_at="start"),
            Probe(
                "sample_distances",
                lambda setup, data: {"split": [reported_split(data.splits)]},
                DISTANCES,
                _distances,
                record_at="end",
                passes=lambda data: COMPARED,
                evaluates_all_examples=True,
            ),
        ),
        result=Samples,
        detect=lambda run: detect(run.tables["sample_distances"]),
        figures={"samples": samples_over_training},
        validate=check,
    )


def _distances(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    train = _flat(snapshot.examples["train"].inputs)
    held_out = _flat(snapshot.examples[reported_split(snapshot.examples)].inputs[:COMPARED])
    drawn = _flat(snapshot.sample(jax.random.fold_in(snapshot.key, 1), COMPARED))
    nearest = (distances_between(values, train).min(1).mean() for values in (drawn, held_out))
    spreads = (
        distances_between(values, values).mean() * len(values) / max(1, len(values) - 1)
        for values in (drawn, held_out)
    )
    return tuple(jnp.ravel(value) for value in (*nearest, *spreads))


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], -1)


def distances_between(one: Array, other: Array) -> Array:
    """The Euclidean distances of the rows of one array from those of another, `[N, M]`."""
    squares = jnp.square(one).sum(1)[:, None] + jnp.square(other).sum(1)[None] - 2.0 * one @ other.T
    return jnp.sqrt(jnp.maximum(squares, 0.0))


def detect(table: pandas.DataFrame) -> Samples:
    """The numbers of the table `sample_distances`. Raises InvalidValue where one is not finite."""
    refuse_non_numeric(table, DISTANCES)
    distance, held_out, spread, held_out_spread = (float(table[name].iloc[-1]) for name in DISTANCES)
    if not math.isfinite(distance + spread):
        raise InvalidValue("the samples are not finite")
    same = held_out == 0 or held_out_spread == 0
    return Samples(
        distance=distance,
        over_held_out=distance / held_out if held_out > 0 else None,
        spread=spread / held_out_spread if held_out_spread > 0 else None,
        reason="the examples to compare with are all alike, or copies of training examples" if same else None,
    )


def samples_over_training(runs: Sequence[RunView]) -> Figure:
    """Samples at some records of the training beside training examples; of several runs the last record.

    Images are in a row each record; of two features a point is drawn for each sample.
    """
    tables = [run.tables["samples"] for run in runs]
    for table in tables:
        refuse_non_numeric(table, ("step", "sample", "y", "x", "channel", "value"))
        if table.empty or len(table) > MAXIMUM_TABLE_VALUES:
            raise InvalidValue("there are no samples, or too many")
    first = images_in(tables[0][tables[0]["step"] == tables[0]["step"].max()], "value")[0]
    return _points(runs) if first.size < MINIMUM_IMAGE_VALUES else _images(runs)


def _shown_steps(table: pandas.DataFrame, count: int) -> list[int]:
    """Some steps at which there are samples, the last one among them."""
    steps = np.unique(table["step"])
    return [int(step) for step in steps[plotting.evenly_spaced_indices(len(steps), count)][-count:]]


def _images(runs: Sequence[RunView]) -> Figure:
    rows = {}
    for run in runs:
        table = run.tables["samples"]
        for step in _shown_steps(table, SHOWN_RECORDS) if len(runs) == 1 else [int(table["step"].max())]:
            images = images_in(table[table["step"] == step], "value")[:SHOWN_IMAGES]
            label = textwrap.fill(run.label, CAPTION_CHARACTERS) if len(runs) > 1 else f"step\n{step:,}"
            rows[label] = [displayed(image) for image in images]
    examples = images_in(runs[0].tables["sampled_examples"], "value")[:SHOWN_IMAGES]
    rows["examples"] = [displayed(image) for image in examples]
    if len({len(images) for images in rows.values()}) > 1 or len(rows) < len(runs) + 1:
        raise InvalidValue("the runs have samples of different numbers, or names that are the same")
    figure = plotting.image_grid(rows, [""] * len(examples), value_range(examples))
    plotting.figure_title(figure, "\n".join(map(_finding, runs)))
    return figure


def _points(runs: Sequence[RunView]) -> Figure:
    across = SHOWN_RECORDS + 1
    figure, axes = plotting.panels(len(runs), across, 1.6 * len(runs) + 0.3, sharey="row")
    for row, run in zip(axes, runs, strict=True):
        table, examples = run.tables["samples"], _plane(run.tables["sampled_examples"])
        low, high = value_range(examples)
        margin = 0.15 * (high - low)
        steps = _shown_steps(table, SHOWN_RECORDS)
        for ax, step in zip(row, steps, strict=False):
            _scatter(ax, _plane(table[table["step"] == step]), plotting.COLOURS[0], f"step {step:,}")
        for ax in row[len(steps) : -1]:
            ax.remove()
        _scatter(row[-1], examples, plotting.COLOURS[1], "examples")
        for ax in (*row[: len(steps)], row[-1]):
            ax.set(
                xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), xticks=[], yticks=[]
            )
            ax.set_aspect("equal")
        row[0].set_ylabel(run.label if len(runs) > 1 else "")
    return figure


def _plane(table: pandas.DataFrame) -> np.ndarray:
    """The points `[N, 2]` in a table of samples with two features. Raises InvalidValue."""
    points = images_in(table, "value")
    points = points.reshape(len(points), -1)
    if points.shape[1] != 2:
        raise InvalidValue("samples of fewer than eight features are drawn where there are two")
    return points


def _scatter(ax: Axes, points: np.ndarray, colour: str, words: str) -> None:
    ax.scatter(points[:, 0], points[:, 1], s=3, color=colour, linewidths=0, rasterized=True)
    ax.set_title(words)
    ax.grid(visible=False)


def _finding(run: RunView) -> str:
    numbers = detect(run.tables["sample_distances"])
    if numbers.over_held_out is None or numbers.spread is None:
        return run.label
    return (
        f"{run.label}: distance to training examples {numbers.over_held_out:.2f} times that of others, "
        f"spread {numbers.spread:.2f}"
    )
