"""Feature maps: what the first convolutions make of a few examples."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import MOST_VALUES, crossed, judged, limits, mosaic, picture_shape, split_of
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp
from nnlab.text import join_words, suggestion

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INPUTS = "inputs"
ZERO = 1e-6
FIRST = 2  # convolutions


class FeatureMaps(NamedTuple):
    """Over the maps that are kept, see `feature_maps`. maps: how many, of all layers. near_zero: of their
    values, the share with |value| < 1e-6. dead_maps: maps that have one value, to 1e-6, all over the examples
    that are kept.
    """

    maps: int
    near_zero: float
    dead_maps: int


@phenomenon
def feature_maps(layer: str | None = None, examples: Count = 4, maps: Count = 16) -> RunPhenomenon:
    """The outputs of convolutions for the first test examples (else validation, else train), as pictures.

    layer: a pattern of paths, such as `conv2d_*`; without, the first two convolutions, each after the
    activation that follows it. examples, maps: so many, the first ones; maps of each layer.
    """

    def kept(setup: Setup, data: Data) -> list[tuple[str, int, int, int]]:
        shapes = {INPUTS: data.train.inputs.shape[1:]} | mapped(setup, layer)
        return [(path, *_maps_of(path, shape)) for path, shape in shapes.items()]

    def rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
        split = judged(data.splits)
        found: dict[str, list[Any]] = {}
        for path, height, width, count in kept(setup, data):
            first, part = range(min(examples, len(data.splits[split]))), range(min(maps, count))
            axes = {"example": first, "map": part, "y": range(height), "x": range(width)}
            for name, column in crossed(split=[split], layer=[path], **axes).items():
                found.setdefault(name, []).extend(column)
        return found

    def check(setup: Setup, data: Data) -> None:
        values = sum(h * w * min(maps, count) * examples for _, h, w, count in kept(setup, data))
        if values > MOST_VALUES:
            raise InvalidValue(
                f"would keep {values:,} values of maps, of at most {MOST_VALUES:,}; let examples be fewer"
            )

    def values(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs = snapshot.examples[judged(snapshot.examples)].inputs[:examples]
        inside = snapshot.evaluate(snapshot.params, inputs).intermediates["outputs"]
        seen = {INPUTS: inputs} | {path: inside[path] for path in mapped(setup, layer)}
        found = []
        for path, outputs in seen.items():
            height, width, count = _maps_of(path, outputs.shape[1:])
            outputs = outputs.reshape(-1, height, width, count)[..., :maps]
            found.append(jnp.moveaxis(outputs, -1, 1).reshape(-1))
        return (jnp.concatenate(found),)

    return RunPhenomenon(
        probes=(Probe("feature_maps", rows, ("value",), values, record_at="end"),),
        result=FeatureMaps,
        detect=lambda run: summarize(run.tables["feature_maps"]),
        figures={"feature_maps": map_pictures},
        validate=check,
    )


def mapped(setup: Setup, layer: str | None) -> dict[str, Shape]:
    """The paths of the layers that are looked at, with their outputs' shapes. Raises InvalidValue."""
    leaves = dict(setup.leaves())
    paths = _convolutions(leaves) if layer is None else fnmatch.filter(leaves, layer)
    found = {path: leaves[path].output_shape for path in paths if len(leaves[path].output_shape) > 1}
    if found:
        return found
    if layer is None:
        raise InvalidValue("feature_maps are of convolutions, and the model has none; leave it out here")
    if paths:
        raise InvalidValue(f"the outputs of '{layer}' are no maps", ("layer",))
    near = suggestion(layer, leaves) or ";"
    raise InvalidValue(f"no layer is '{layer}'{near} there are {join_words(list(leaves), 'and')}", ("layer",))


def _convolutions(leaves: dict[str, Setup]) -> list[str]:
    """The first convolutions, each to the activation that follows it before the next kernel."""
    found: list[str] = []
    waiting = False
    for path, leaf in leaves.items():
        if "kernel" in leaf.params:
            waiting = len(leaf.params["kernel"].shape) > 2
            found += [path] if waiting else []
        elif waiting and leaf.activation is not None and leaf.output_shape == leaves[found[-1]].output_shape:
            found[-1], waiting = path, False
    return found[:FIRST]


def _maps_of(path: str, shape: Shape) -> tuple[int, int, int]:
    """Height, width and number of maps `[H, W, K]` or `[L, K]`; inputs `[H, W]` and `[L]` are one."""
    if path == INPUTS:
        return picture_shape(shape)
    return (1, shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def _pictures(table: pandas.DataFrame) -> np.ndarray:
    """The maps `[examples, maps, H, W]` of one layer."""
    shape = [int(table[name].max()) + 1 for name in ("example", "map", "y", "x")]
    return table["value"].to_numpy(float).reshape(shape)


def summarize(table: pandas.DataFrame) -> FeatureMaps:
    """The numbers of the table `feature_maps`."""
    made = table[table["layer"] != INPUTS]
    span = made.groupby(["layer", "map"])["value"].agg(lambda values: values.max() - values.min())
    return FeatureMaps(len(span), float((made["value"].abs() < ZERO).mean()), int((span < ZERO).sum()))


def map_pictures(runs: Sequence[RunView]) -> Figure:
    """The inputs, then the maps of each layer, a column each; an example a row, black being a layer's least
    value. A row of panels a run."""
    layers = [list(dict.fromkeys(run.tables["feature_maps"]["layer"])) for run in runs]
    columns = max(map(len, layers))
    figure, axes = plotting.panels(
        sum(map(len, layers)), 1, width=7.4, height=0.3 + 1.6 * columns * len(runs)
    )
    places = iter(axes[:, 0])
    for run, names in zip(runs, layers, strict=True):
        table = run.tables["feature_maps"]
        for name in names:
            ax = next(places)
            shown = _pictures(table[table["layer"] == name])
            _draw(ax, shown)
            ax.set_title(f"{run.label}: {_in_words(table, name, shown)}")
            ax.set(xlabel="maps" if name != INPUTS else "channels", ylabel="examples", xticks=[], yticks=[])
    return figure


def _in_words(table: pandas.DataFrame, name: str, shown: np.ndarray) -> str:
    if name == INPUTS:
        return f"{len(shown)} {split_of(table)} examples"
    found = summarize(table[table["layer"] == name])
    return f"{name}, {100 * found.near_zero:.0f} % zero, {found.dead_maps} of {found.maps} maps dead"


def _draw(ax: Axes, shown: np.ndarray) -> None:
    """Maps `[examples, maps, H, W]` as tiles; those of signals, of height 1, are stretched."""
    examples, maps, height, width = shown.shape
    low, high = limits(shown)
    tiles = mosaic(shown.reshape(examples * maps, height, width), maps)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.imshow(tiles, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_aspect("auto" if height == 1 else "equal")
