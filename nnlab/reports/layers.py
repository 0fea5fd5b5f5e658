"""The layers of runs over training as numbers for a page, record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.reports.curves import Columns, rounded
from nnlab.text import name_in_words

NAMES = ("step", "layer", "index", "fan_in")  # the columns that say which row it is
LEAST_RECORDS = 4  # that the slider moves over, however many layers there are


class LayerSource(NamedTuple):
    """A run whose layers are shown.

    Attributes:
        label: The run in a few words.
        table: Its table `layers`.
    """

    label: str
    table: Columns


class RunLayers(NamedTuple):
    """What was measured of the layers of one run.

    Attributes:
        label: The run in a few words.
        layers: The layers' names, from the input on.
        steps: The records that are kept.
        values: Quantity -> `[records][layers]`.
        records: How many records there are.
    """

    label: str
    layers: list[str]
    steps: list[int]
    values: dict[str, list[list[float | None]]]
    records: int


class Layers(NamedTuple):
    """The layers of one or more runs.

    Attributes:
        runs: Those that have a table of layers.
        quantities: What is measured in all of them, in the order of the tables.
        titles: The quantities in words.
        is_log: For each quantity, whether its values are spaced in the logarithm.
    """

    runs: list[RunLayers]
    quantities: list[str]
    titles: list[str]
    is_log: list[bool]


def layers_of(sources: Sequence[LayerSource], most_values: int) -> Layers:
    """The layers of runs.

    Args:
        sources: The runs.
        most_values: How many numbers all of them may have together; records in between are left out.
    """
    runs = [_run_layers(source, most_values // len(sources)) for source in sources]
    known = [run for run in runs if run is not None]
    first = known[0].values if known else {}
    quantities = [name for name in first if all(name in run.values for run in known)]
    titles = [name_in_words(name) for name in quantities]
    return Layers(known, quantities, titles, [_is_wide(known, name) for name in quantities])


def _run_layers(source: LayerSource, most_values: int) -> RunLayers | None:
    """One run's layers; None where its table has none."""
    table = source.table
    if not {"step", "layer"} <= table.keys() or not len(table["step"]):
        return None
    steps, starts = np.unique(table["step"], return_index=True)
    count = int(np.sum(table["step"] == steps[0]))
    complete = [start for start in starts if start + count <= len(table["step"])]
    quantities = [name for name in table if name not in NAMES and table[name].dtype.kind in "fiu"]
    most_records = max(LEAST_RECORDS, most_values // max(1, count * len(quantities)))
    kept = plotting.evenly_spaced_indices(len(complete), most_records)
    rows = [complete[number] for number in kept]
    values = {
        name: [rounded(table[name][row : row + count].astype(float)) for row in rows] for name in quantities
    }
    layers = [str(layer) for layer in table["layer"][:count]]
    return RunLayers(source.label, layers, [int(steps[number]) for number in kept], values, len(complete))


def _is_wide(runs: Sequence[RunLayers], quantity: str) -> bool:
    records = [record for run in runs for record in run.values[quantity]]
    positive = [value for record in records for value in record if value]
    is_wide = bool(positive) and max(positive) / min(positive) > plotting.WIDE_RATIO
    return is_wide and min(positive) > 0
