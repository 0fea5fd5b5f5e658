"""Gradient flow: do gradients reach the first layer, and activations the last?

Sources: lecture 000 (vanishing and exploding gradients), 001 (sigmoid's slope of at most 0.25, initial
weights, figures 11 to 18), 004; Glorot & Bengio 2010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_sparse_grid, refuse_too_many_lines
from nnlab.phenomena.probe import (
    Probe,
    Snapshot,
    Stage,
    arrays_by_layer,
    layer_norms,
    layer_norms_without_underflow,
    layer_rows,
    stages,
    subtree,
)
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

BINS = 60
ACTIVATIONS = ("activation_mean", "activation_std", "dead_fraction", "saturated_fraction")
CURVE = np.linspace(-6.0, 6.0, 241, dtype=np.float32)


class GradientFlow(NamedTuple):
    """Over the hidden layers, see `hidden_layers`. Gradients are of the kernels: those of biases do
    not depend on the size of the activations, and would hide a collapse.

    first_to_last_ratio: gradient norm of the first over that of the last hidden layer, at step 0.
    decay_per_layer: factor by which the gradient norm changes a layer towards the input, at step 0: 10 to
    minus the slope of log10 of the norm over depth.
    activation_spread: activation std of the last over that of the first hidden layer, at step 0.
    dead_fraction, saturated_fraction: means over the hidden layers, at step 0.
    verdict: of step 0, see `verdict`.
    final_...: the same at the last record.
    first_layer_change: distance of the first layer's weights from their start, relative to the start's norm
    (absolute where that is 0), at the last record.
    """

    first_to_last_ratio: float
    decay_per_layer: float
    activation_spread: float
    dead_fraction: float
    saturated_fraction: float
    verdict: str
    final_first_to_last_ratio: float
    final_dead_fraction: float
    final_saturated_fraction: float
    first_layer_change: float


@phenomenon
def gradient_flow() -> RunPhenomenon:
    """Gradients that vanish or explode, activations that collapse or explode, units that die or saturate.

    The verdict is of step 0, from numbers over the hidden layers: `collapsing` where the activations' std
    falls below a hundredth from first to last layer, `exploding` where it grows a hundredfold or the
    gradient twentyfold towards the input, `vanishing` where the gradient falls below a hundredth towards
    the input, `dead` where nine in ten units are flat for every example, `saturated` where three in five
    activations of a bounded function are flat, else `healthy`. The gradient's ratio alone would call ReLU
    with Glorot weights healthy (0.9 at depth 50, while activations fall to 2e-8), and sigmoid with N(0, 1)
    weights too (0.2 to 0.5, its units flat).
    """
    return RunPhenomenon(
        probes=(
            Probe("layers", layer_rows, ("kernel_grad_norm", "change_from_start"), _kernels_and_change),
            Probe("histograms", _histogram_rows, ("left", "right", "share"), _histograms, record_at="start"),
            Probe("activations", _curve_rows, ("value", "slope"), _curves, record_at="start"),
        ),
        result=GradientFlow,
        detect=lambda run: summarize(run.tables["layers"]),
        figures={
            "gradient_over_time": gradient_over_time,
            "depth_profile": depth_profile,
            "histograms": histograms,
            "activation_slope": activation_slope,
            "flat_units": flat_units,
        },
    )


def verdict(ratio: float, spread: float, saturated: float, dead: float) -> str:
    """One word for a net's signals, see `gradient_flow`. NaN or infinity count as exploding."""
    if not (math.isfinite(ratio) and math.isfinite(spread)):
        return "exploding"
    if spread < 0.01:
        return "collapsing"
    if spread > 100 or ratio > 20:
        return "exploding"
    if ratio < 0.01:
        return "vanishing"
    if dead > 0.9:
        return "dead"
    return "saturated" if saturated > 0.6 else "healthy"


def summarize(layers: pandas.DataFrame) -> GradientFlow:
    """The detector's numbers from the table `layers`."""
    hidden = hidden_layers(layers)
    first = hidden[hidden["step"] == hidden["step"].min()]
    last = hidden[hidden["step"] == hidden["step"].max()]
    ratio = _ratio(first["kernel_grad_norm"], of="first")
    spread = _ratio(first["activation_std"], of="last")
    dead, saturated = float(first["dead_fraction"].mean()), float(first["saturated_fraction"].mean())
    return GradientFlow(
        first_to_last_ratio=ratio,
        decay_per_layer=_decay(first["kernel_grad_norm"].to_numpy(float)),
        activation_spread=spread,
        dead_fraction=dead,
        saturated_fraction=saturated,
        verdict=verdict(ratio, spread, saturated, dead),
        final_first_to_last_ratio=_ratio(last["kernel_grad_norm"], of="first"),
        final_dead_fraction=float(last["dead_fraction"].mean()),
        final_saturated_fraction=float(last["saturated_fraction"].mean()),
        first_layer_change=float(last["change_from_start"].iloc[0]),
    )


def hidden_layers(layers: pandas.DataFrame) -> pandas.DataFrame:
    """A row a step and hidden layer: a layer with a kernel and what follows it up to the next kernel, such as
    dense, batch_norm and sigmoid; all but the last one, the read-out (unless that is all there is).

    Activations are those of the group's end, all else is of the layer with the kernel. depth counts from 1.
    """
    kernels = layers["fan_in"].notna()
    rows = layers.assign(depth=kernels.groupby(layers["step"]).cumsum())
    rows = rows[rows["depth"] > 0]
    grouped = rows.drop_duplicates(["step", "depth"], keep="first").reset_index(drop=True)
    ends = rows.drop_duplicates(["step", "depth"], keep="last").reset_index(drop=True)
    activations = [name for name in ACTIVATIONS if name in layers]
    grouped[activations] = ends[activations]
    hidden = grouped[grouped["depth"] < grouped["depth"].max()]
    return hidden if len(hidden) else grouped


def _ratio(values: pandas.Series, of: str) -> float:
    """First over last, or last over first; 0 / 0 is 0: nothing arrives."""
    first, last = float(values.iloc[0]), float(values.iloc[-1])
    above, below = (first, last) if of == "first" else (last, first)
    if above == 0:
        return 0.0
    return above / below if below else math.inf


def _decay(norms: np.ndarray) -> float:
    """10^(-slope) of log10(norm) over depth; 0 where some norm is 0, 1 where there is one layer."""
    if len(norms) < 2:
        return 1.0
    if (norms == 0).any():
        return 0.0
    if not np.isfinite(norms).all():
        return math.inf
    return float(10 ** -np.polyfit(np.arange(len(norms)), np.log10(norms), 1)[0])


def _kernels_and_change(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """The gradient norm of each kernel (NaN where there is none), and the distance from the first weights."""
    kernels = [
        [subtree(snapshot.gradients, layer.path)["kernel"]] if layer.has_kernel else []
        for layer in stages(setup)
    ]
    has_kernel = np.array([bool(kernel) for kernel in kernels])
    norm = jnp.where(has_kernel, layer_norms_without_underflow(kernels), jnp.nan)
    change = jax.tree.map(jnp.subtract, snapshot.params, snapshot.initial_params)
    distance = layer_norms_without_underflow(arrays_by_layer(change, setup))
    start = layer_norms(arrays_by_layer(snapshot.initial_params, setup))
    return norm, distance / jnp.where(start > 0, start, 1.0)


def _kernels(setup: Setup) -> list[Stage]:
    """The layers with a kernel, each to the end of what follows it up to the next one."""
    found: list[Stage] = []
    for layer in stages(setup):
        if layer.has_kernel:
            found.append(layer)
        elif found:
            found[-1] = found[-1]._replace(last=layer.last)
    return found


def _histogram_rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
    keys = [
        (layer.path, what, b)
        for layer in _kernels(setup)
        for what in ("weights", "outputs")
        for b in range(BINS)
    ]
    return {
        name: list(column)
        for name, column in zip(("layer", "of", "bin"), zip(*keys, strict=True), strict=True)
    }


def _histograms(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array, Array]:
    """Shares of each kernel's weights and each layer's outputs in equal bins from least to greatest."""
    found = []
    for layer in _kernels(setup):
        for values in (
            subtree(snapshot.params, layer.path)["kernel"],
            snapshot.intermediates["outputs"][layer.last],
        ):
            low, high = values.min(), values.max()
            width = jnp.maximum(high - low, jnp.maximum(1e-6 * jnp.abs(high), 1e-30)) / BINS
            index = jnp.clip(((values - low) / width).astype(jnp.int32), 0, BINS - 1)
            share = jnp.bincount(index.reshape(-1), length=BINS).astype(jnp.float32) / values.size
            left = low + width * np.arange(BINS, dtype=np.float32)
            found.append((left, left + width, share))
    left, right, share = (jnp.concatenate(column) for column in zip(*found, strict=True))
    return left, right, share


def _distinct_activations(setup: Setup) -> dict[str, Any]:
    """Each activation of a model by its name and arguments."""
    found = [leaf.activation for _, leaf in setup.leaves() if leaf.activation is not None]
    return {_in_words(activation): activation for activation in found}


def _in_words(function: Any) -> str:
    """`relu`, `leaky_relu(negative_slope=0.01)`."""
    arguments = ", ".join(f"{key}={value}" for key, value in getattr(function, "keywords", {}).items())
    name = getattr(function, "func", function).__name__
    return f"{name}({arguments})" if arguments else name


def _curve_rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
    names = [name for name in _distinct_activations(setup) for _ in CURVE]
    return {"activation": names, "z": [z for _ in _distinct_activations(setup) for z in CURVE]}


def _curves(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    z = jnp.asarray(CURVE)
    pairs = [jax.jvp(f, (z,), (jnp.ones_like(z),)) for f in _distinct_activations(setup).values()]
    empty = [jnp.zeros(0, jnp.float32)]
    return jnp.concatenate(empty + [p[0] for p in pairs]), jnp.concatenate(empty + [p[1] for p in pairs])


def gradient_over_time(runs: Sequence[RunView]) -> Figure:
    """Heat map: log10 of the gradient norm, by layer and training step; a panel a run, one scale for all."""
    figure, axes = plotting.panels(1, len(runs), width=max(6.4, 3.6 * len(runs) + 0.8))
    grids = [
        _kernel_rows(run).pivot(index="index", columns="step", values="kernel_grad_norm") for run in runs
    ]
    logs = [np.log10(np.where(np.isfinite(g) & (g > 0), g, np.nan).astype(float)) for g in grids]
    seen = [value for log in logs for value in log[np.isfinite(log)]] or [0.0]
    for ax, run, grid, log in zip(axes[0], runs, grids, logs, strict=True):
        steps, depth = grid.columns.to_numpy(float), np.arange(1.0, len(grid) + 1)
        drawn = ax.pcolormesh(
            _edges(steps), _edges(depth), log, cmap="viridis", vmin=min(seen), vmax=max(seen), rasterized=True
        )
        ax.set(ylabel="layer (1 = next to the input)", facecolor="#dddddd")
        ax.grid(visible=False)
        plotting.step_axis(ax, steps.tolist())
        ax.yaxis.get_major_locator().set_params(integer=True)
        flow = summarize(run.tables["layers"])
        ratio = plotting.scientific(flow.first_to_last_ratio)
        ax.set_title(f"{run.label}\n{flow.verdict}: first / last hidden layer {ratio}")
    figure.colorbar(drawn, ax=axes[0].tolist(), label="log10 of the gradient norm (grey: 0 or not finite)")
    return figure


def depth_profile(runs: Sequence[RunView]) -> Figure:
    """Gradient norm and activation std by depth at step 0, all runs on one axes."""
    figure, axes = plotting.panels(1, 2, width=8.2, height=3.9)
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        hidden = hidden_layers(run.tables["layers"])
        first = hidden[hidden["step"] == hidden["step"].min()]
        flow = summarize(run.tables["layers"])
        for ax, column in zip(axes[0], ("kernel_grad_norm", "activation_std"), strict=True):
            values = first[column].where(first[column] > 0)
            ax.plot(
                first["depth"],
                values,
                marker="o",
                markersize=3,
                color=colour,
                label=f"{run.label} ({flow.verdict})",
            )
    for ax, label in zip(axes[0], ("gradient norm", "activation standard deviation"), strict=True):
        _say_what_is_missing(ax)
        ax.set(xlabel="hidden layer (1 = next to the input)", ylabel=label)
        plotting.log_axis(ax)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_title("Gradients backward, at step 0")
    axes[0][1].set_title("Activations forward, at step 0")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(runs)))
    return figure


def _say_what_is_missing(ax: Any) -> None:
    """A log axis cannot show zeros: name the lines that have nothing else."""
    empty = [line for line in ax.get_lines() if not np.isfinite(np.asarray(line.get_ydata(), float)).any()]
    if empty:
        names = ", ".join(str(line.get_label()).split(" (")[0] for line in empty)
        ax.text(0.02, 0.02, f"0 or not finite: {names}", transform=ax.transAxes, fontsize=7)


def histograms(runs: Sequence[RunView]) -> Figure:
    """Weights and outputs of (up to five) layers at step 0, two rows of panels a run."""
    chosen = [_chosen_layers(run) for run in runs]
    columns = max(len(layers) for layers in chosen)
    figure, axes = plotting.panels(
        2 * len(runs), columns, width=max(6.4, 1.9 * columns + 1), height=3.4 * len(runs) + 0.4
    )
    for number, (run, layers) in enumerate(zip(runs, chosen, strict=True)):
        table = run.tables["histograms"]
        for row, (what, colour) in enumerate(
            (("weights", plotting.COLOURS[7]), ("outputs", plotting.COLOURS[0]))
        ):
            for column in range(columns):
                ax = axes[2 * number + row][column]
                if column >= len(layers):
                    ax.set_axis_off()
                    continue
                part = table[(table["layer"] == layers[column]) & (table["of"] == what)]
                _draw_histogram(ax, part, colour, f"{layers[column]} {what}")
                ax.set_xlabel("value", fontsize=7)
            axes[2 * number + row][0].set_ylabel(f"{run.label}\nshare of {what}", fontsize=7)
    figure.suptitle(
        "Weights and layer outputs at step 0: the std of the outputs should keep its size",
        x=0.01,
        ha="left",
    )
    return figure


def activation_slope(runs: Sequence[RunView]) -> Figure:
    """Each activation of the runs and its derivative."""
    import pandas

    table = pandas.concat([run.tables["activations"] for run in runs]).drop_duplicates(["activation", "z"])
    refuse_too_many_lines(table["activation"].nunique(), "activations")
    figure, axes = plotting.panels(1, 2, width=7.4, height=3.5)
    for name, curve in table.groupby("activation", sort=False):
        label = f"{name}: slope {curve['slope'].abs().max():.3g} at most"
        axes[0][0].plot(curve["z"], curve["value"], label=label)
        axes[0][1].plot(curve["z"], curve["slope"])
    axes[0][0].set(title="Activation f(z)", xlabel="z", ylabel="f(z)")
    axes[0][1].set(title="Its slope, which scales the gradient", xlabel="z", ylabel="f'(z)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def flat_units(runs: Sequence[RunView]) -> Figure:
    """Dead units and saturated activations over training, means over the hidden layers, a colour a run."""
    figure, axes = plotting.panels(1, 2, width=8.2, height=3.4, sharey=True)
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        means = (
            hidden_layers(run.tables["layers"])
            .groupby("step")[["dead_fraction", "saturated_fraction"]]
            .mean()
        )
        for ax, column in zip(axes[0], means, strict=True):
            ax.plot(means.index, 100 * means[column], color=colour, marker="o", markersize=2, label=run.label)
    for ax, what in zip(axes[0], ("Dead units", "Saturated activations"), strict=True):
        ax.set(title=f"{what}, mean of the hidden layers", ylim=(-4, 104))
        plotting.step_axis(ax, runs[0].tables["metrics"]["step"].tolist())
    axes[0][0].set_ylabel("%")
    plotting.legend(axes[0][0])
    return figure


def _kernel_rows(run: RunView) -> pandas.DataFrame:
    layers = run.tables["layers"]
    rows = layers[layers["fan_in"].notna()]
    refuse_sparse_grid(rows, "index", "step")
    return rows


def _chosen_layers(run: RunView) -> list[str]:
    names = list(dict.fromkeys(run.tables["histograms"]["layer"]))
    hidden = names[:-1] or names
    return [hidden[i] for i in plotting.evenly_spaced_indices(len(hidden), 5)]


def _draw_histogram(ax: Any, part: pandas.DataFrame, colour: str, title: str) -> None:
    left, right, share = (part[name].to_numpy(float) for name in ("left", "right", "share"))
    ax.bar(left, share, width=right - left, align="edge", color=colour)
    middle = (left + right) / 2
    total = share.sum()
    mean = (share * middle).sum() / total
    std = math.sqrt(max(0.0, (share * (middle - mean) ** 2).sum() / total))
    ax.set_title(f"{title}\nstd {plotting.scientific(std)}", fontsize=7)
    if right[-1] - left[0] < 1e-20:  # all values alike
        ax.set_xlim(left[0] - 1, left[0] + 1)
        ax.axvline(left[0], color=colour)
    ax.tick_params(labelsize=6)
    ax.locator_params(axis="x", nbins=3)
    ax.ticklabel_format(axis="x", scilimits=(-2, 3))
    ax.xaxis.get_offset_text().set_fontsize(6)


def _edges(centres: np.ndarray) -> np.ndarray:
    """The borders of cells around ascending centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = (centres[1:] + centres[:-1]) / 2
    return np.concatenate(
        [[centres[0] - (inner[0] - centres[0])], inner, [centres[-1] + (centres[-1] - inner[-1])]]
    )
