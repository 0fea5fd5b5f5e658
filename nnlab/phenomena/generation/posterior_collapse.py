"""Posterior collapse: a variational autoencoder whose code says nothing of the example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import (
    RunPhenomenon,
    RunView,
    phenomenon,
    refuse_non_numeric,
    refuse_sparse_grid,
)
from nnlab.phenomena.examples import product_rows
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACTIVE_VARIANCE = 0.01  # of a unit's mean over the examples, from which on it is active (Burda et al. 2016)
NAME_DISTANCE = 0.4  # between the names of two classes on the map, in standard deviations of the codes
MAPPED = 500  # examples of the map, at most

Verdict = Literal["collapse", "some units", "none"]


class PosteriorCollapse(NamedTuple):
    """What the code of a `vae` layer holds, at the end, of the test examples (else validation, else train).

    Attributes:
        units: How many units the code has.
        active: How many of them are active: their mean, which the encoder gives, has a variance above 0.01
            over the examples.
        rate: The mean KL of the code in nats an example: how much it says.
        distortion: The mean of -log p(x|z) in nats an example: how much it leaves open.
        bound: -(rate + distortion), a lower bound of the log-likelihood whatever beta is.
        verdict: See `posterior_collapse`.
    """

    units: int
    active: int
    rate: float
    distortion: float
    bound: float
    verdict: Verdict


@phenomenon
def posterior_collapse() -> RunPhenomenon:
    """Does the code of a variational autoencoder say anything of the example?

    For a model that ends in a `vae` layer. The figure `latent_map` shows the two units of the code that say
    most, each example in the colour of its class.

    Verdicts:
        collapse: No unit of the code is active; the decoder goes without it.
        some units: Some are.
        none: All are.

    Reference:
        Bowman et al. 2016, Generating sentences from a continuous space; active units: Burda, Grosse &
        Salakhutdinov 2016, Importance weighted autoencoders.
    """

    def unit_rows(setup: Setup, data: Data) -> RowLabels:
        return {"unit": list(range(1, _code_size(setup) + 1))}

    def code_rows(setup: Setup, data: Data) -> RowLabels:
        examples = data.splits[reported_split(data.splits)]
        count, units = min(MAPPED, len(examples)), _code_size(setup)
        labels = examples.targets.reshape(len(examples), -1)[:count, 0]
        rows = product_rows(example=range(count), unit=range(1, units + 1))
        return {**rows, "class": [int(label) for label in labels for _ in range(units)]}

    return RunPhenomenon(
        probes=(
            Probe(
                "code_units",
                unit_rows,
                ("divergence", "variance", "distortion"),
                _measure_units,
                passes=lambda data: len(data.splits[reported_split(data.splits)]),
                evaluates_all_examples=True,
            ),
            Probe("codes", code_rows, ("mean",), _measure_codes, record_at="end", passes=lambda data: MAPPED),
        ),
        result=PosteriorCollapse,
        detect=lambda run: detect(run.tables["code_units"]),
        figures={"posterior_collapse": rates_over_training, "latent_map": latent_map},
        validate=lambda setup, data: _code_size(setup),
    )


def _layer(setup: Setup) -> tuple[str, Setup]:
    """The last layer's name and setup. Raises InvalidValue where it is no vae."""
    *_, (name, last) = setup.children.items()
    if last.type != "vae":
        raise InvalidValue(f"posterior_collapse needs a vae layer at the end; here it is {last.type}")
    return name, last


def _code_size(setup: Setup) -> int:
    return _layer(setup)[1].children["encoder"].output_shape[0] // 2


def _measure_units(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    (name, _), units = _layer(setup), _code_size(setup)
    inputs = snapshot.examples[reported_split(snapshot.examples)].inputs
    values = snapshot.evaluate(snapshot.params, inputs).intermediates
    means = values["outputs"][f"{name}/encoder"][:, :units]
    distortion = jnp.broadcast_to(values["distortions"][name].mean(), (units,))
    return values["divergences"][name].mean(0), means.var(0), distortion


def _measure_codes(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    (name, _), units = _layer(setup), _code_size(setup)
    inputs = snapshot.examples[reported_split(snapshot.examples)].inputs[:MAPPED]
    outputs = snapshot.evaluate(snapshot.params, inputs).intermediates["outputs"]
    return (outputs[f"{name}/encoder"][:, :units].reshape(-1),)


def detect(table: pandas.DataFrame) -> PosteriorCollapse:
    """The numbers of the table `code_units`. Raises InvalidValue where one is not finite."""
    columns = ("divergence", "variance", "distortion")
    refuse_non_numeric(table, ("step", "unit", *columns))
    last = table[table["step"] == table["step"].max()]
    if last.empty or not np.isfinite(last[list(columns)].to_numpy(float)).all():
        raise InvalidValue("what the code says is not finite")
    active, units = int((last["variance"] > ACTIVE_VARIANCE).sum()), len(last)
    rate, distortion = float(last["divergence"].sum()), float(last["distortion"].iloc[0])
    verdict: Verdict = "none" if active == units else "some units"
    return PosteriorCollapse(
        units=units,
        active=active,
        rate=rate,
        distortion=distortion,
        bound=-(rate + distortion),
        verdict=verdict if active else "collapse",
    )


def rates_over_training(runs: Sequence[RunView]) -> Figure:
    """How much the code says, and how much it leaves open, over the training; all runs on one axes each."""
    figure, axes = plotting.panels(1, 2, 3.4 + 0.15 * len(runs))
    (of_rate, of_distortion), steps = axes[0], []
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = run.tables["code_units"]
        numbers, grouped = detect(table), table.groupby("step")
        label = (
            f"{run.label}: {numbers.active} of {numbers.units} units active, bound {numbers.bound:.1f} nats"
        )
        rate, distortion = grouped["divergence"].sum(), grouped["distortion"].first()
        of_rate.plot(rate.index, rate, color=colour, label=label)
        of_distortion.plot(distortion.index, distortion, color=colour)
        steps += list(rate.index)
    of_rate.set(title="What the code says", ylabel="rate, nats an example", ylim=(0, None))
    of_distortion.set(title="What it leaves open", ylabel="distortion, nats an example")
    for ax in axes[0]:
        plotting.step_axis(ax, steps)
    plotting.legend_below(figure, of_rate, columns=1)
    return figure


def _name_classes(ax: Axes, codes: pandas.DataFrame, kinds: pandas.Series) -> None:
    """Write each class at the mean of its codes, unless that is next to one that is written already."""
    written: list[np.ndarray] = []
    for label, centre in codes.groupby(kinds).mean().iterrows():
        place = centre.to_numpy(float)
        if all(np.hypot(*(place - other)) > NAME_DISTANCE * codes.std().max() for other in written):
            ax.text(place[0], place[1], str(label), weight="bold", ha="center", va="center")
            written.append(place)


def latent_map(runs: Sequence[RunView]) -> Figure:
    """The examples in the plane of the two units that say most, coloured by class; a panel a run."""
    classes = [np.unique(run.tables["codes"]["class"]) for run in runs]
    labels = sorted({int(label) for found in classes for label in found})
    colours = dict(zip(labels, plotting.colours(len(labels)), strict=True))

    def draw(ax: Axes, run: RunView) -> str:
        table, units = run.tables["codes"], run.tables["code_units"]
        refuse_non_numeric(table, ("example", "unit", "class", "mean"))
        refuse_sparse_grid(table, "example", "unit")
        last = units[units["step"] == units["step"].max()].sort_values("divergence", ascending=False)
        shown = list(last["unit"])[:2]
        if len(shown) < 2:
            raise InvalidValue("a map needs a code of two units or more")
        codes = table.pivot(index="example", columns="unit", values="mean")
        kinds = table.groupby("example")["class"].first()
        for label in labels:
            points = codes[kinds == label].reindex(columns=shown).to_numpy()
            ax.scatter(points[:, 0], points[:, 1], s=8, color=colours[label], label=str(label), linewidths=0)
        _name_classes(ax, codes.reindex(columns=shown), kinds)
        ax.set(xlabel=f"code, unit {shown[0]}", ylabel=f"unit {shown[1]}")
        ax.set_aspect("equal", adjustable="datalim")
        return run.label

    figure, axes = plotting.panel_per_result(runs, draw, height=3.6)
    plotting.legend_below(figure, axes[0], title="class")
    return figure
