"""The columns of tables in few arrays: one for all columns of a shape and type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from nnlab.system.imports import Array, jnp

PackedTables = dict[tuple[tuple[str, str], ...], Array]
"""(table, column) of each column -> the columns, stacked along the last axis."""


def pack(tables: Mapping[str, Mapping[str, Array]]) -> PackedTables:
    """The columns of tables, packed."""
    groups = defaultdict(list)
    for table, columns in tables.items():
        for column, values in columns.items():
            groups[values.shape, values.dtype].append((table, column))
    return {
        tuple(names): jnp.stack([tables[table][column] for table, column in names], -1)
        for names in groups.values()
    }


def unpack(packed: PackedTables) -> dict[str, dict[str, Array]]:
    """The columns of packed tables, with the axes that came in front since."""
    tables: dict[str, dict[str, Array]] = {}
    for names, stacked in packed.items():
        for number, (table, column) in enumerate(names):
            tables.setdefault(table, {})[column] = stacked[..., number]
    return tables
