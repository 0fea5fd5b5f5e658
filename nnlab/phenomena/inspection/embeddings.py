"""Embeddings: what a hidden layer makes of the examples, seen along its two widest directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import map_in_blocks, recorded_split
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp
from nnlab.text import join_words, name_in_words, suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_NUMERAL_CLASSES = 10  # up to here the classes are drawn as their numbers
ONE_PLACE = "all examples are in one place"
COLUMNS = ("pc1", "pc2", "spread", "class_spread")


class Embeddings(NamedTuple):
    """How far the classes are apart in the layer's outputs, as shares from 0 to 1.

    Attributes:
        explained_by_two: Share of the variance, at the end, along the two components that are drawn.
        separation: Share of the variance, at the end, that is between the class means: 0 where the classes
            lie on each other (of N examples, about classes / N), 1 where each is one point; null if all
            examples are in one place, or of one class.
        initial_separation: The same at the start.
        reason: Why numbers are null.
    """

    explained_by_two: float | None
    separation: float | None
    initial_separation: float | None
    reason: str | None = None


@phenomenon
def embeddings(layer: str | None = None, examples: Count = 500) -> RunPhenomenon:
    """How far apart are the classes in a layer's outputs for test examples (else validation, else train)?

    The figure shows the examples on two principal components, with the sign that makes the greatest loading
    of each positive. Separation uses all directions: the sum over examples of |m_c - m|² over that of
    |h - m|², where h is an example's output, m_c the mean of its class and m the mean of all.

    Args:
        layer: The layer's path; null is the layer before the last one with a kernel.
        examples: Number of examples, the first ones, that are used.

    Reference:
        Principal components: lecture 002. Between-class over total variance: Fisher 1936.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        split = reported_split(data.splits)
        if not data.train.classes:
            raise InvalidValue("embeddings colours classes, and the targets are values; leave it out here")
        if data.train.positions:
            raise InvalidValue(
                "embeddings colours one class an example; here is one at every position; leave it out"
            )
        classes = data.splits[split].targets[:examples].tolist()
        path, count = feature_layer(setup, layer) or "inputs", len(classes)
        return {
            "split": [split] * count,
            "layer": [path] * count,
            "example": list(range(count)),
            "class": classes,
        }

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return _components(snapshot, feature_layer(setup, layer), examples)

    return RunPhenomenon(
        probes=(
            Probe("initial_embeddings", rows, COLUMNS, measure, record_at="start"),
            Probe("embeddings", rows, COLUMNS, measure, record_at="end"),
        ),
        result=Embeddings,
        detect=detect,
        figures={"embeddings": component_scatter},
        validate=rows,
    )


def detect(run: RunView) -> Embeddings:
    """The numbers of the tables `embeddings` and `initial_embeddings`."""
    final, initial = run.tables["embeddings"], run.tables["initial_embeddings"]
    numbers = Embeddings(explained_by_two(final), separation(final), separation(initial))
    if None not in numbers[:3]:
        return numbers
    return numbers._replace(
        reason=ONE_PLACE if final["class"].nunique() > 1 else "all examples are of one class"
    )


def explained_by_two(table: pandas.DataFrame) -> float | None:
    """The share of the sum of squares that lies along the two components."""
    return _share(np.square(table[["pc1", "pc2"]].to_numpy(float)).sum(), table["spread"].sum())


def separation(table: pandas.DataFrame) -> float | None:
    """The share of the sum of squares that is between classes; None of a single class."""
    if table["class"].nunique() < 2:
        return None
    return _share(table["class_spread"].sum(), table["spread"].sum())


def _share(part: float, total: float) -> float | None:
    """part / total; None if that is not finite."""
    share = float(part / total) if total > 0 else math.nan
    return share if math.isfinite(share) else None


def feature_layer(setup: Setup, named: str | None) -> str | None:
    """The path of the layer whose outputs are used; None for the inputs. Raises InvalidValue."""
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
    """Raises InvalidValue if no layer is at the path."""
    leaves = [leaf_path for leaf_path, _ in setup.leaves()]
    parts = (leaf.split("/") for leaf in leaves)
    paths = ["/".join(names[: length + 1]) for names in parts for length in range(len(names))]
    if path not in paths:
        near = suggestion(path, paths) or ";"
        raise InvalidValue(f"no layer is '{path}'{near} there are {join_words(leaves, 'and')}", ("layer",))


def _components(snapshot: Snapshot, layer: str | None, examples: int) -> tuple[Array, ...]:
    """The columns COLUMNS, `[examples]` each.

    They are the scores of each example on two components, and the squared distances of the example and of
    its class mean from the mean of all.
    """
    batch = snapshot.examples[reported_split(snapshot.examples)]
    inputs, classes = (part[:examples] for part in batch)

    def layer_outputs(block: Array) -> Array:
        if layer is None:
            return block.reshape(block.shape[0], -1)
        outputs = snapshot.evaluate(snapshot.params, block).intermediates["outputs"][layer]
        return outputs.reshape(block.shape[0], -1)

    values = map_in_blocks(layer_outputs, inputs)
    values = values - values.mean(0, keepdims=True)
    same_class = (classes[:, None] == classes[None, :]).astype(values.dtype)
    class_means = same_class @ values / same_class.sum(1, keepdims=True)
    left, singular_values, directions = jnp.linalg.svd(values, full_matrices=False)
    greatest = jnp.take_along_axis(directions, jnp.abs(directions).argmax(1, keepdims=True), 1)[:, 0]
    scores = left * (singular_values * jnp.where(greatest < 0, -1.0, 1.0))[None, :]
    scores = jnp.pad(scores, ((0, 0), (0, 2)))  # outputs of a single value have one direction
    return scores[:, 0], scores[:, 1], jnp.square(values).sum(1), jnp.square(class_means).sum(1)


def component_scatter(runs: Sequence[RunView]) -> Figure:
    """The examples along two components at the start and at the end, coloured by class; one row per run."""
    tables = [run.tables[name] for run in runs for name in ("initial_embeddings", "embeddings")]
    if all(explained_by_two(table) is None for table in tables):
        raise InvalidValue(ONE_PLACE)
    figure, axes = plotting.panels(len(runs), 2, 3.3 * len(runs) + 0.3)
    for row, run in zip(axes, runs, strict=True):
        final = run.tables["embeddings"]
        moments = (("initial_embeddings", "at the start"), ("embeddings", "at the end"))
        for ax, (name, moment) in zip(row, moments, strict=True):
            table = run.tables[name]
            _draw_classes(ax, table)
            explained, apart = explained_by_two(table), separation(table)
            words = f"{run.label}, {moment}" + ("" if apart is None else f"\nseparation {apart:.2f}")
            ax.set_title(plotting.title(words, across=2))
            layer = name_in_words(final["layer"].iloc[0])
            share = "" if explained is None else f"\n(the two have {100 * explained:.0f} % of the variance)"
            ax.set_xlabel(f"first principal component of {layer}{share}")
        row[0].set_ylabel(
            f"second principal component\nof {len(final)} {name_in_words(recorded_split(final))} examples"
        )
    return figure


def _draw_classes(ax: Axes, table: pandas.DataFrame) -> None:
    """Draw each class in a colour, few classes as their numbers."""
    classes = sorted(table["class"].unique().tolist())
    for number, colour in zip(classes, plotting.colours(len(classes)), strict=True):
        points = table[table["class"] == number]
        as_numeral = len(classes) <= MAXIMUM_NUMERAL_CLASSES
        marker, size = (f"${number}$", 22.0) if as_numeral else ("o", 8.0)
        ax.scatter(points["pc1"], points["pc2"], s=size, color=colour, marker=marker, linewidths=0.2)
