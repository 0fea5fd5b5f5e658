"""Mode collapse: a generative model that draws examples of a few kinds only, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.nn.model import sampling
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.generation.samples import distances_between
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COUNTED = 2_000  # samples that are counted at each record
NEAR = 0.99  # of the training examples of a mode are as near to its mean as a sample must be
FOUND_SHARE = 0.25  # of what is due to a mode of the samples near to any, from which on it is found
COLLAPSED_SHARE = 0.5  # of the modes are found at most where a model has collapsed
LEAST_NEAR = 0.05  # of the samples, without which there are no modes to speak of

Verdict = Literal["collapse", "some missing", "none"]


class ModeCollapse(NamedTuple):
    """Which modes the samples come from, at the end.

    Attributes:
        modes: How many there are.
        found: How many have a quarter or more of what is due to them: of the samples that lie near to a mode
            as large a share as of the training examples.
        most_found: The greatest such number at any record.
        near: The share of the samples that lie near to a mode.
        largest_share: The share of the samples near a mode that come from the most frequent one.
        verdict: See `mode_collapse`.
        reason: Why numbers are null.
    """

    modes: int
    found: int
    most_found: int
    near: float
    largest_share: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def mode_collapse(modes: Count) -> RunPhenomenon:
    """Does a generative model draw examples of all kinds, or of a few only?

    The kinds, or modes, are the classes of the data, of which training knows nothing. A sample is of the mode
    whose mean is next to it, and near to it where it is no farther away than 99 % of the training examples of
    that class. 2,000 are drawn at each record.

    Verdicts:
        collapse: At most half of the modes are found.
        some missing: More are, but not all.
        none: All are. Null where fewer than 5 % of the samples lie near to a mode.

    Args:
        modes: How many classes the data have.

    Reference:
        Metz et al. 2017, Unrolled generative adversarial networks; Goodfellow 2016, NIPS tutorial on GANs.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        shares = _shares(data)
        return {"mode": list(range(len(shares))), "due": [float(share) for share in shares]}

    def check(setup: Setup, data: Data) -> None:
        if sampling(setup) is None:
            raise InvalidValue("mode_collapse needs a last layer that draws examples, such as gan")
        count = len(_shares(data))
        if count != modes:
            raise InvalidValue(f"has {modes} modes, and the data have {count} classes", ("modes",))

    def shares(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
        inputs, targets = snapshot.examples["train"]
        return (
            _shares_near(_flat(snapshot.sample(snapshot.key, COUNTED)), _flat(inputs), targets[:, 0], modes),
        )

    return RunPhenomenon(
        probes=(
            Probe(
                "modes", rows, ("share",), shares, passes=lambda data: COUNTED, evaluates_all_examples=True
            ),
        ),
        result=ModeCollapse,
        detect=lambda run: detect(run.tables["modes"]),
        figures={"mode_collapse": modes_over_training},
        validate=check,
    )


def _shares(data: Data) -> np.ndarray:
    """The share of each class of the training examples; their targets are its number. Raises InvalidValue."""
    labels = data.train.targets[:, 0] if data.train.targets.ndim == 2 else data.train.targets
    classes = np.unique(labels)
    if data.train.targets.size != len(data.train) or not np.array_equal(classes, np.arange(len(classes))):
        raise InvalidValue("mode_collapse needs data with classes, and no reconstruct")
    return np.bincount(labels.astype(np.int64)) / len(labels)


def _flat(values: Array) -> Array:
    return values.reshape(values.shape[0], -1)


def _shares_near(samples: Array, train: Array, labels: Array, modes: int) -> Array:
    """The share of the samples `[S, D]` that lie near to each mode of examples `[N, D]`, `[modes]`."""
    belongs = labels[:, None] == jnp.arange(modes, dtype=labels.dtype)[None]
    means = (belongs.astype(train.dtype).T @ train) / belongs.sum(0, dtype=train.dtype)[:, None]
    inside = jnp.where(belongs, distances_between(train, means), jnp.nan)
    distances = distances_between(samples, means)
    radius = jnp.nanquantile(inside, NEAR, axis=0)
    is_next = distances.argmin(1)[:, None] == jnp.arange(modes)[None]
    return (is_next & (distances <= radius[None])).mean(0)


def detect(table: pandas.DataFrame) -> ModeCollapse:
    """The numbers of the table `modes`. Raises InvalidValue where one is not finite."""
    found = found_by_step(table)
    last = table[table["step"] == table["step"].max()]["share"].to_numpy(float)
    modes, near = len(last), float(last.sum())
    enough = near >= LEAST_NEAR
    count = int(found.iloc[-1])
    verdict: Verdict = "none" if count == modes else "some missing"
    if count <= COLLAPSED_SHARE * modes:
        verdict = "collapse"
    return ModeCollapse(
        modes=modes,
        found=count,
        most_found=int(found.max()),
        near=near,
        largest_share=float(last.max() / near) if near > 0 else None,
        verdict=verdict if enough else None,
        reason=None if enough else "hardly any sample lies near to a mode",
    )


def found_by_step(table: pandas.DataFrame) -> pandas.Series:
    """How many modes are found at each step, none where hardly a sample is near. Raises InvalidValue where a
    share is not finite."""
    refuse_non_numeric(table, ("step", "mode", "due", "share"))
    if table.empty or not np.isfinite(table["share"].to_numpy(float)).all():
        raise InvalidValue("there are no samples, or they are not finite")
    near = table.groupby("step")["share"].transform("sum")
    found = (near >= LEAST_NEAR) & (table["share"] >= FOUND_SHARE * table["due"] * near)
    return found.groupby(table["step"]).sum()


def modes_over_training(runs: Sequence[RunView]) -> Figure:
    """How many modes are found over the training; all runs on one axes. The thin line is all there are."""
    figure, axes = plotting.panels(1, 1, 3.2 + 0.15 * len(runs))
    ax, steps = axes[0, 0], []
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = run.tables["modes"]
        numbers, found = detect(table), found_by_step(table)
        label = f"{run.label}: {numbers.found} of {numbers.modes} modes at the end"
        ax.plot(found.index, found, color=colour, marker="o", markersize=3, label=label)
        ax.axhline(numbers.modes, color="#333333", linewidth=0.8)
        steps += list(found.index)
    ax.set(title="Modes that samples come from; line: all there are", ylabel="modes found", ylim=(0, None))
    plotting.step_axis(ax, steps)
    plotting.integer_ticks(ax.yaxis)
    plotting.legend_below(figure, ax, columns=1)
    return figure
