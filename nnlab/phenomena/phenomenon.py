"""What a phenomenon is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nnlab.probes import Probe
from nnlab.registry import register

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Seen(Protocol):
    """What a figure sees of a run."""

    @property
    def label(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, pandas.DataFrame]: ...

    @property
    def summary(self) -> Mapping[str, Any]: ...


class Phenomenon(NamedTuple):
    """probes: what training must record for it. numbers: the names of what the detector finds.

    summarize: tables -> those numbers. figures: by name, each from runs to a figure; several runs come on
    one axes where that is a comparison.
    """

    probes: tuple[Probe, ...]
    numbers: tuple[str, ...]
    summarize: Callable[[Mapping[str, pandas.DataFrame]], Mapping[str, Any]]
    figures: Mapping[str, Callable[[Sequence[Seen]], Figure]]
    name: str = ""


phenomenon = register("phenomenon", label="name")
"""Register a function that returns a Phenomenon."""
