"""Feature maps: what the first convolutions make of a few examples."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import (
    MAXIMUM_TABLE_VALUES,
    image_shape,
    mosaic,
    product_rows,
    recorded_split,
    value_range,
)
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp
from nnlab.text import join_words, name_in_words, suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INPUTS = "inputs"  # stands for a layer's path
ZERO_TOLERANCE = 1e-6
DEFAULT_CONVOLUTIONS = 2  # the first ones


class FeatureMaps(NamedTuple):
    """The maps that are kept, see `feature_maps`.

    Attributes:
        maps: Number of maps in all layers.
        near_zero: Share of their values, 0 to 1, with |value| < 1e-6.
        dead_maps: Number of maps whose values, over all kept examples, differ by less than 1e-6.
    """

    maps: int
    near_zero: float
    dead_maps: int


@phenomenon
def feature_maps(layer: str | None = None, examples: Count = 4, maps: Count = 16) -> RunPhenomenon:
    """What do convolutions make of the first test examples (else validation, else train)?

    Args:
        layer: A pattern of layer paths, such as `conv2d_*`; null is the first two convolutions, each after
            its activation.
        examples: Number of examples, the first ones, that are kept.
        maps: Number of maps of each layer, the first ones, that are kept.
    """

    def kept_layers(setup: Setup, data: Data) -> list[tuple[str, int, int, int]]:
        """Path, height, width and number of kept maps, for the inputs and each layer."""
        shapes = {INPUTS: data.train.inputs.shape[1:]} | mapped_layers(setup, layer)
        sizes = {path: _map_sizes(path, shape) for path, shape in shapes.items()}
        return [(path, height, width, min(maps, count)) for path, (height, width, count) in sizes.items()]

    def rows(setup: Setup, data: Data) -> RowLabels:
        split = reported_split(data.splits)
        shown = range(min(examples, len(data.splits[split])))
        columns: dict[str, list[str | int | float | None]] = {}
        for path, height, width, count in kept_layers(setup, data):
            axes = {"example": shown, "map": range(count), "y": range(height), "x": range(width)}
            for name, values in product_rows(split=[split], layer=[path], **axes).items():
                columns.setdefault(name, []).extend(values)
        return columns

    def validate(setup: Setup, data: Data) -> None:
        count = examples * sum(h * w * kept for _, h, w, kept in kept_layers(setup, data))
        if count > MAXIMUM_TABLE_VALUES:
            raise InvalidValue(
                f"would keep {count:,} values of maps, of at most {MAXIMUM_TABLE_VALUES:,}; let examples be "
                "fewer"
            )

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs = snapshot.examples[reported_split(snapshot.examples)].inputs[:examples]
        outputs = snapshot.evaluate(snapshot.params, inputs).intermediates["outputs"]
        by_path = {INPUTS: inputs} | {path: outputs[path] for path in mapped_layers(setup, layer)}
        return (jnp.concatenate([_map_values(path, values, maps) for path, values in by_path.items()]),)

    return RunPhenomenon(
        probes=(Probe("feature_maps", rows, ("value",), measure, record_at="end"),),
        result=FeatureMaps,
        detect=lambda run: detect(run.tables["feature_maps"]),
        figures={"feature_maps": map_images},
        validate=validate,
    )


def mapped_layers(setup: Setup, layer: str | None) -> dict[str, Shape]:
    """The paths of the layers whose maps are kept, with their outputs' shapes.

    Args:
        setup: The model's setup.
        layer: A pattern of paths; None is the first convolutions.

    Raises:
        InvalidValue: No layer is at such a path, or the outputs are no maps.
    """
    leaves = dict(setup.leaves())
    paths = _first_convolutions(leaves) if layer is None else fnmatch.filter(leaves, layer)
    shapes = {path: leaves[path].output_shape for path in paths if len(leaves[path].output_shape) > 1}
    if shapes:
        return shapes
    if layer is None:
        raise InvalidValue("feature_maps are of convolutions, and the model has none; leave it out here")
    if paths:
        raise InvalidValue(f"the outputs of '{layer}' are no maps", ("layer",))
    near = suggestion(layer, leaves) or ";"
    raise InvalidValue(f"no layer is '{layer}'{near} there are {join_words(list(leaves), 'and')}", ("layer",))


def _first_convolutions(leaves: Mapping[str, Setup]) -> list[str]:
    """The first convolutions, or the activation that follows one before the next kernel."""
    paths: list[str] = []
    awaits_activation = False
    for path, leaf in leaves.items():
        if "kernel" in leaf.params:
            awaits_activation = len(leaf.params["kernel"].shape) > 2
            paths += [path] if awaits_activation else []
        elif (
            awaits_activation
            and leaf.activation is not None
            and leaf.output_shape == leaves[paths[-1]].output_shape
        ):
            paths[-1], awaits_activation = path, False
    return paths[:DEFAULT_CONVOLUTIONS]


def _map_sizes(path: str, shape: Shape) -> tuple[int, int, int]:
    """Height, width and number of maps `[H, W, K]` or `[L, K]`; inputs `[H, W]` and `[L]` are one."""
    if path == INPUTS:
        return image_shape(shape)
    return (1, shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def _map_values(path: str, values: Array, maps: int) -> Array:
    """The first maps of inputs or outputs `[N, ...]`, in the order of the table's rows."""
    height, width, count = _map_sizes(path, values.shape[1:])
    values = values.reshape(-1, height, width, count)[..., :maps]
    return jnp.moveaxis(values, -1, 1).reshape(-1)


def detect(table: pandas.DataFrame) -> FeatureMaps:
    """The numbers of the table `feature_maps`."""
    values = table[table["layer"] != INPUTS]
    span = values.groupby(["layer", "map"])["value"].agg(lambda of_map: of_map.max() - of_map.min())
    return FeatureMaps(
        maps=len(span),
        near_zero=float((values["value"].abs() < ZERO_TOLERANCE).mean()),
        dead_maps=int((span < ZERO_TOLERANCE).sum()),
    )


def map_images(runs: Sequence[RunView]) -> Figure:
    """The inputs and the maps of each layer, one panel below the other, for all runs.

    A panel has a row per example and a column per map; black is the layer's least value.
    """
    layers = [list(dict.fromkeys(run.tables["feature_maps"]["layer"])) for run in runs]
    height = 0.3 + 1.6 * max(map(len, layers)) * len(runs)
    figure, axes = plotting.panels(sum(map(len, layers)), 1, height)
    panels = iter(axes[:, 0])
    for run, paths in zip(runs, layers, strict=True):
        table = run.tables["feature_maps"]
        for path in paths:
            ax, rows = next(panels), table[table["layer"] == path]
            maps = _maps_in(rows)
            _draw_maps(ax, maps)
            ax.set_title(plotting.title(f"{run.label}: {_finding(rows, path, len(maps))}"))
            ax.set(xlabel="maps" if path != INPUTS else "channels", ylabel="examples", xticks=[], yticks=[])
    return figure


def _maps_in(rows: pandas.DataFrame) -> np.ndarray:
    """The maps `[examples, maps, H, W]` in the table's rows of one layer."""
    shape = [int(rows[name].max()) + 1 for name in ("example", "map", "y", "x")]
    return rows["value"].to_numpy(float).reshape(shape)


def _finding(rows: pandas.DataFrame, path: str, examples: int) -> str:
    if path == INPUTS:
        return f"{examples} {name_in_words(recorded_split(rows))} examples"
    numbers = detect(rows)
    dead = f"{numbers.dead_maps} of {numbers.maps} maps dead"
    return f"{name_in_words(path)}, {100 * numbers.near_zero:.0f} % zero, {dead}"


def _draw_maps(ax: Axes, maps: np.ndarray) -> None:
    """Draw maps `[examples, maps, H, W]` as tiles; those of signals, of height 1, are stretched."""
    examples, count, height, width = maps.shape
    low, high = value_range(maps)
    tiles = mosaic(maps.reshape(examples * count, height, width), count)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.imshow(tiles, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_aspect("auto" if height == 1 else "equal")
