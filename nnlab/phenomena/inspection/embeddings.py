"""Embeddings: what a hidden layer makes of the examples, seen along its two widest directions.

Source: principal components, lecture 002; between-class over total variance, Fisher 1936.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import finite, in_blocks, judged, split_of
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp
from nnlab.text import join_words, suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMERALS = 10  # classes that are drawn as their numbers
COLUMNS = ("pc1", "pc2", "spread", "class_spread")


class Embeddings(NamedTuple):
    """explained_by_two: of the variance at the end, the share along the two components that are drawn.
    separation, initial_separation: of the variance, that of the class means, at the end and at the start:
    from 0, the classes lie on each other (of N examples, about classes / N), to 1, each is one point; null
    where all examples are in one place.
    """

    explained_by_two: float
    separation: float
    initial_separation: float


@phenomenon
def embeddings(layer: str | None = None, examples: Count = 500) -> RunPhenomenon:
    """A layer's outputs for test examples (else validation, else train), on two principal components.

    layer: its path; without, the layer before the last one with a kernel. examples: the first so many.
    Separation is of all directions: sum over examples of |m_c - m|² / sum of |h - m|², h being an example's
    outputs, m_c the mean of its class and m that of all. A component's sign is such that its greatest loading
    is positive.
    """

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        split = judged(data.splits)
        if not data.train.classes:
            raise InvalidValue("embeddings colours classes, and the targets are values; leave it out here")
        classes = data.splits[split].targets[:examples].tolist()
        seen, count = [_layer(setup, layer) or "inputs"], len(classes)
        return {
            "split": [split] * count,
            "layer": seen * count,
            "example": list(range(count)),
            "class": classes,
        }

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return _components(snapshot, _layer(setup, layer), examples)

    return RunPhenomenon(
        probes=(
            Probe("initial_embeddings", rows, COLUMNS, measure, record_at="start"),
            Probe("embeddings", rows, COLUMNS, measure, record_at="end"),
        ),
        result=Embeddings,
        detect=lambda run: finite(summarize(run)),
        figures={"embeddings": scatter},
        validate=rows,
    )


def summarize(run: RunView) -> Embeddings:
    """The numbers of the tables `embeddings` and `initial_embeddings`."""
    final = run.tables["embeddings"]
    along = np.square(final[["pc1", "pc2"]].to_numpy(float)).sum()
    return Embeddings(
        explained_by_two=_share(along, final["spread"].sum()),
        separation=separation(final),
        initial_separation=separation(run.tables["initial_embeddings"]),
    )


def separation(table: pandas.DataFrame) -> float:
    """Of the sum of squares, that between classes; NaN where there is none."""
    return _share(table["class_spread"].sum(), table["spread"].sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else np.nan


def _layer(setup: Setup, named: str | None) -> str | None:
    """The path of the layer that is looked at; None for the inputs. Raises InvalidValue."""
    if named is not None:
        _check_path(setup, named)
        return named
    children = list(setup.children.items())
    last = max(
        i
        for i, (_, child) in enumerate(children)
        if any("kernel" in leaf.params for _, leaf in child.leaves())
    )
    return children[last - 1][0] if last else None


def _check_path(setup: Setup, path: str) -> None:
    """Raises InvalidValue where no layer is at the path."""
    paths = [path for path, _ in setup.leaves()]
    around = {"/".join(names[: i + 1]) for names in (p.split("/") for p in paths) for i in range(len(names))}
    if path not in around:
        near = suggestion(path, around) or ";"
        raise InvalidValue(f"no layer is '{path}'{near} there are {join_words(paths, 'and')}", ("layer",))


def _components(snapshot: Snapshot, layer: str | None, examples: int) -> tuple[Array, ...]:
    """See COLUMNS: of each example its place along two components, and the squared distances of it and of its
    class mean from the mean of all."""
    inputs, classes = (part[:examples] for part in snapshot.examples[judged(snapshot.examples)])

    def hidden(block: Array) -> Array:
        if layer is None:
            return block.reshape(block.shape[0], -1)
        return (
            snapshot.evaluate(snapshot.params, block)
            .intermediates["outputs"][layer]
            .reshape(block.shape[0], -1)
        )

    values = in_blocks(hidden, inputs)
    values = values - values.mean(0, keepdims=True)
    same = (classes[:, None] == classes[None, :]).astype(values.dtype)
    means = same @ values / same.sum(1, keepdims=True)
    places, sizes, directions = jnp.linalg.svd(values, full_matrices=False)
    turned = jnp.take_along_axis(directions, jnp.abs(directions).argmax(1, keepdims=True), 1)[:, 0]
    along = places * (sizes * jnp.where(turned < 0, -1.0, 1.0))[None, :]
    along = jnp.pad(along, ((0, 0), (0, 2)))  # where there is but one direction
    return along[:, 0], along[:, 1], jnp.square(values).sum(1), jnp.square(means).sum(1)


def scatter(runs: Sequence[RunView]) -> Figure:
    """The examples along two components at the start and at the end, coloured by class; a row a run."""
    figure, axes = plotting.panels(len(runs), 2, width=7.4, height=3.5 * len(runs) + 0.3)
    for row, run in zip(axes, runs, strict=True):
        found, final = summarize(run), run.tables["embeddings"]
        layer, split = final["layer"].iloc[0], split_of(final)
        moments = (
            ("initial_embeddings", "at the start", found.initial_separation),
            ("embeddings", "at the end", found.separation),
        )
        for ax, (name, when, size) in zip(row, moments, strict=True):
            table = run.tables[name]
            _draw(ax, table)
            along = np.square(table[["pc1", "pc2"]].to_numpy(float)).sum()
            explained = 100 * _share(along, table["spread"].sum())
            ax.set_title(f"{run.label}, {when}\nseparation {size:.2f}")
            ax.set(xlabel=f"component 1 of {layer} ({explained:.0f} % by the two)", ylabel="component 2")
        row[0].set_ylabel(f"component 2, {len(final)} {split} examples")
    return figure


def _draw(ax: Axes, table: pandas.DataFrame) -> None:
    """Each class in a colour, few classes as their numbers."""
    classes = sorted(table["class"].unique().tolist())
    for number, colour in zip(classes, plotting.colours(len(classes)), strict=True):
        part = table[table["class"] == number]
        marker, size = (f"${number}$", 22.0) if len(classes) <= NUMERALS else ("o", 8.0)
        ax.scatter(part["pc1"], part["pc2"], s=size, color=colour, marker=marker, linewidths=0.2)
