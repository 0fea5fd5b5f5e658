"""Superposition: a bottleneck that holds more features than it has dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric, refuse_sparse_grid
from nnlab.phenomena.examples import MAXIMUM_TABLE_VALUES, product_rows
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, subtree
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

REPRESENTED_NORM = (
    0.5  # of a feature's direction; those that are left out come to nearly 0, others to about 1
)

OVERLAP = "overlap of\ntwo features"

Verdict = Literal["superposition", "none"]


class Superposition(NamedTuple):
    """What the bottleneck of a `tied_dense` layer holds, at the end.

    Attributes:
        dimensions: m, the width of the bottleneck.
        features: How many features are represented: those whose row of W has a norm above 0.5.
        dimensions_per_feature: D* = m / ||W||_F^2, about 1 where each feature has a dimension of its own and
            1/2 where two share one; null where W is 0.
        interference: The sum of the squared overlaps of a feature's direction, of length 1, with the rows of
            W of all others, mean over the represented features; 0 where they are orthogonal. Null where no
            feature is represented.
        verdict: See `superposition`.
        reason: Why numbers are null.
    """

    dimensions: int
    features: int
    dimensions_per_feature: float | None
    interference: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def superposition() -> RunPhenomenon:
    """Does a bottleneck hold more features than it has dimensions, each in a direction of its own?

    For a model with a `tied_dense` layer, y = x W W^T + b, before which nothing mixes the features.

    Verdicts:
        superposition: More features are represented than there are dimensions.
        none: There are not. Null where no feature is represented.

    Reference:
        Elhage et al. 2022, Toy models of superposition.
    """
    return RunPhenomenon(
        probes=(Probe("feature_weights", _weight_rows, ("weight",), _weights, record_at="end"),),
        result=Superposition,
        detect=lambda run: detect(weights_of(run.tables["feature_weights"])),
        figures={"superposition": overlaps_of_features},
        validate=lambda setup, data: _check_size(setup),
    )


def _tied_path(setup: Setup) -> str:
    """The path of the first layer with weights, if it is a tied_dense one. Raises InvalidValue."""
    path, kind = next(((path, leaf.type) for path, leaf in setup.leaves() if leaf.params), ("none", ""))
    if kind != "tied_dense":
        raise InvalidValue(
            f"superposition needs a tied_dense layer before all others with weights; here {path} is the first"
        )
    return path


def _shape(setup: Setup) -> tuple[int, ...]:
    """D and U of the layer's kernel."""
    return next(leaf for path, leaf in setup.leaves() if path == _tied_path(setup)).params["kernel"].shape


def _check_size(setup: Setup) -> None:
    """Refuse a kernel of more values than a table holds. Raises InvalidValue."""
    features, dimensions = _shape(setup)
    if features * dimensions > MAXIMUM_TABLE_VALUES:
        raise InvalidValue(
            f"would keep {features * dimensions:,} weights in a table, of at most {MAXIMUM_TABLE_VALUES:,}"
        )


def _weight_rows(setup: Setup, data: Data) -> RowLabels:
    features, dimensions = _shape(setup)
    return product_rows(feature=range(features), dimension=range(dimensions))


def _weights(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    return (jnp.reshape(subtree(snapshot.params, _tied_path(setup))["kernel"], -1),)


def weights_of(table: pandas.DataFrame) -> np.ndarray:
    """W `[D, m]` of the table `feature_weights` of a run. Raises InvalidValue where it is not whole."""
    refuse_non_numeric(table, ("feature", "dimension", "weight"))
    refuse_sparse_grid(table, "feature", "dimension")
    weights = table.pivot(index="feature", columns="dimension", values="weight").to_numpy(float)
    if not weights.size or not np.isfinite(weights).all():
        raise InvalidValue("the weights are not finite, or some are missing")
    return weights


def detect(weights: np.ndarray) -> Superposition:
    """The numbers of W, `[D, m]`."""
    norms = np.linalg.norm(weights, axis=1)
    represented = norms > REPRESENTED_NORM
    count, dimensions = int(represented.sum()), weights.shape[1]
    interference = None
    if count:
        overlaps = np.square(weights @ (weights / np.maximum(norms, REPRESENTED_NORM)[:, None]).T)
        np.fill_diagonal(overlaps, 0.0)
        interference = float(overlaps.sum(0)[represented].mean())
    verdict: Verdict = "superposition" if count > dimensions else "none"
    return Superposition(
        dimensions=dimensions,
        features=count,
        dimensions_per_feature=dimensions / float(np.square(norms).sum()) if norms.any() else None,
        interference=interference,
        verdict=verdict if count else None,
        reason=None if count else "no feature is represented",
    )


def overlaps_of_features(runs: Sequence[RunView]) -> Figure:
    """Heat map of W W^T, which feature answers to which; a panel a run."""
    meshes = []

    def draw(ax: Axes, run: RunView) -> str:
        weights = weights_of(run.tables["feature_weights"])
        meshes.append(draw_overlaps(ax, weights))
        ax.set(xlabel="feature (1 = most important)", ylabel="feature")
        return f"{run.label}: {features_in_words(detect(weights))}"

    figure, axes = plotting.panel_per_result(runs, draw, height=3.9, compressed=True)
    figure.colorbar(meshes[-1], ax=axes, label=OVERLAP)
    return figure


def features_in_words(result: Superposition) -> str:
    """`10 features in 5 dimensions`."""
    return f"{result.features} features in {result.dimensions} dimensions"


def draw_overlaps(ax: Axes, weights: np.ndarray) -> QuadMesh:
    """Draw W W^T of W `[D, m]`; the cells in their colours."""
    borders = np.arange(len(weights) + 1) + 0.5
    overlaps = weights @ weights.T
    mesh = ax.pcolormesh(borders, borders, overlaps, cmap="RdBu_r", vmin=-1, vmax=1, rasterized=True)
    ax.set_aspect("equal")
    ax.invert_yaxis()
    ax.grid(visible=False)
    plotting.integer_ticks(ax.xaxis)
    plotting.integer_ticks(ax.yaxis)
    return mesh
