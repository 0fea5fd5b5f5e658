"""The figures of gradient flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunView, refuse_sparse_grid, refuse_too_many_lines
from nnlab.phenomena.layer_table import hidden_layers
from nnlab.text import label_in_words, name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnlab.phenomena.signal.gradient_flow import GradientFlow

HISTOGRAM_LAYERS = 5  # of a run, at most


def gradient_over_time(runs: Sequence[RunView], results: Sequence[GradientFlow]) -> Figure:
    """Heat map: log10 of the gradient norm, by layer and training step; a panel a run, one scale for all."""
    grids = [_gradient_norms(run) for run in runs]
    logs = [np.log10(np.where(np.isfinite(g) & (g > 0), g, np.nan).astype(float)) for g in grids]
    finite = [value for log in logs for value in log[np.isfinite(log)]]
    if not finite:
        raise InvalidValue("every gradient is 0, frozen or not finite")
    meshes = []

    def draw(ax: Axes, number: int) -> str:
        steps = grids[number].columns.to_numpy(float)
        borders = [plotting.cell_edges(centres) for centres in (steps, np.arange(1.0, len(logs[number]) + 1))]
        limits = {"vmin": min(finite), "vmax": max(finite)}
        meshes.append(ax.pcolormesh(*borders, logs[number], cmap="viridis", rasterized=True, **limits))
        ax.set(ylabel="layer (1 = next to the input)", facecolor="#dddddd")
        ax.grid(visible=False)
        plotting.step_axis(ax, steps.tolist())
        plotting.integer_ticks(ax.yaxis)
        return f"{runs[number].label}: {_finding(results[number])}"

    figure, axes = plotting.panel_per_result(range(len(runs)), draw, height=3.6, sharey=True)
    label = "gradient norm, as a power of ten\n(grey: 0, frozen or not finite)"
    figure.colorbar(meshes[-1], ax=axes, label=label)
    return figure


def _finding(result: GradientFlow) -> str:
    ratio = result.first_to_last_ratio
    if ratio is None:
        return str(result.verdict or result.reason)
    return f"{result.verdict}, gradient of first to last hidden layer {plotting.scientific(ratio)}"


def _gradient_norms(run: RunView) -> pandas.DataFrame:
    """The gradient norms of the kernels, `[layers, steps]`."""
    layers = run.tables["layers"]
    rows = layers[layers["fan_in"].notna()]
    refuse_sparse_grid(rows, "index", "step")
    return rows.pivot(index="index", columns="step", values="kernel_grad_norm")


def depth_profile(runs: Sequence[RunView], results: Sequence[GradientFlow]) -> Figure:
    """Gradient norm and activation std by depth at step 0, all runs on one axes."""
    figure, axes = plotting.panels(1, 2, 3.5 + 0.15 * len(runs))
    looks = zip(plotting.colours(len(runs)), plotting.markers(len(runs)), strict=True)
    for run, result, (colour, marker) in zip(runs, results, looks, strict=True):
        hidden = hidden_layers(run.tables["layers"])
        first = hidden[hidden["step"] == hidden["step"].min()]
        label = f"{run.label}: {_ratio_in_words(result)}"
        for ax, column in zip(axes[0], ("kernel_grad_norm", "activation_std"), strict=True):
            values = first[column].where(first[column] > 0)
            ax.plot(first["depth"], values, marker=marker, markersize=4, color=colour, label=label)
    for ax, label in zip(axes[0], ("gradient norm", "activation standard deviation"), strict=True):
        _name_empty_lines(ax)
        ax.set(xlabel="hidden layer (1 = next to the input)", ylabel=label)
        plotting.log_axis(ax)
        plotting.integer_ticks(ax.xaxis)
    axes[0][0].set_title("Gradients backward, at step 0")
    axes[0][1].set_title("Activations forward, at step 0")
    if len(runs) == 1:
        plotting.figure_title(figure, f"{runs[0].label}: {_finding(results[0])}")
    else:
        title = "the verdict, and the gradient of the first hidden layer over that of the last"
        plotting.legend_below(figure, axes[0][0], columns=2, title=title)
    return figure


def _ratio_in_words(result: GradientFlow) -> str:
    ratio = result.first_to_last_ratio
    verdict = result.verdict or "no verdict"
    return verdict if ratio is None else f"{verdict}, {plotting.scientific(ratio)}"


def _name_empty_lines(ax: Axes) -> None:
    """A log axis cannot show zeros: name the lines that have nothing else."""
    empty = [line for line in ax.get_lines() if not np.isfinite(np.asarray(line.get_ydata(), float)).any()]
    if empty:
        names = ", ".join(str(line.get_label()).rpartition(": ")[0] for line in empty)
        words = plotting.title(f"0 or not finite: {names}", across=2)
        ax.text(0.02, 0.02, words, transform=ax.transAxes, fontsize=plotting.SMALL_SIZE)


def histograms(runs: Sequence[RunView]) -> Figure:
    """Weights and outputs of (up to five) layers at step 0, two rows of panels a run."""
    shown = [_shown_layers(run) for run in runs]
    columns = max(map(len, shown))
    figure, axes = plotting.panels(2 * len(runs), columns, 3.6 * len(runs) + 0.4, sharey="row")
    for number, (run, layers) in enumerate(zip(runs, shown, strict=True)):
        _draw_histograms(axes[2 * number], run, layers, "weights", plotting.COLOURS[7])
        _draw_histograms(axes[2 * number + 1], run, layers, "outputs", plotting.COLOURS[0])
    title = "weights and outputs at step 0, ± their standard deviation"
    if len(runs) == 1:
        first, last = (_deviation(_bins(runs[0], shown[0][at], "outputs")) for at in (0, -1))
        spreads = f"{plotting.scientific(first)} to {plotting.scientific(last)}"
        title = f"{runs[0].label}: {title}; the outputs' goes from {spreads}"
    plotting.figure_title(figure, title[:1].upper() + title[1:] if len(runs) > 1 else title)
    return figure


def _bins(run: RunView, layer: str, of: str) -> pandas.DataFrame:
    table = run.tables["histograms"]
    return table[(table["layer"] == layer) & (table["of"] == of)]


def _deviation(bins: pandas.DataFrame) -> float:
    """The standard deviation of what a histogram shows."""
    share, middle = bins["share"].to_numpy(float), (bins["left"] + bins["right"]).to_numpy(float) / 2
    mean = (share * middle).sum() / share.sum()
    return math.sqrt(max(0.0, (share * (middle - mean) ** 2).sum() / share.sum()))


def _shown_layers(run: RunView) -> list[str]:
    names = list(dict.fromkeys(run.tables["histograms"]["layer"]))
    hidden = names[:-1] or names
    return [hidden[i] for i in plotting.evenly_spaced_indices(len(hidden), HISTOGRAM_LAYERS)]


def _draw_histograms(row: Sequence[Axes], run: RunView, layers: list[str], of: str, colour: str) -> None:
    """The weights or the outputs of some layers, a panel each."""
    for ax, layer in zip(row, layers, strict=False):
        _draw_histogram(
            ax,
            _bins(run, layer, of),
            colour,
            plotting.title(name_in_words(layer), len(row), plotting.SMALL_SIZE),
        )
        ax.set_xlabel(f"value of {of}", fontsize=plotting.SMALL_SIZE)
    for ax in row[len(layers) :]:
        ax.set_axis_off()
    row[0].set_ylabel(plotting.title(f"{run.label}\nshare of {of}", across=3), fontsize=plotting.SMALL_SIZE)


def _draw_histogram(ax: Axes, bins: pandas.DataFrame, colour: str, title: str) -> None:
    left, right, share = (bins[name].to_numpy(float) for name in ("left", "right", "share"))
    ax.bar(left, share, width=right - left, align="edge", color=colour)
    ax.set_title(f"{title}\n± {plotting.scientific(_deviation(bins))}", fontsize=plotting.SMALL_SIZE)
    if right[-1] - left[0] < 1e-20:  # all values alike
        ax.set_xlim(left[0] - 1, left[0] + 1)
        ax.axvline(left[0], color=colour)
    ax.tick_params(labelsize=plotting.SMALL_SIZE)
    ax.locator_params(nbins=2)
    ax.ticklabel_format(axis="x", scilimits=(-2, 3))
    ax.xaxis.get_offset_text().set_fontsize(plotting.SMALL_SIZE)


def activation_slope(runs: Sequence[RunView]) -> Figure:
    """Each activation of the runs and its derivative."""
    import pandas

    table = pandas.concat([run.tables["activations"] for run in runs]).drop_duplicates(["activation", "z"])
    if table.empty:
        raise InvalidValue("the model has no activations")
    refuse_too_many_lines(table["activation"].nunique(), "activations")
    figure, axes = plotting.panels(1, 2, 3.5)
    for name, rows in table.groupby("activation", sort=False):
        words = label_in_words(str(name)).replace("(", ", ").replace("=", " ").rstrip(")")
        label = f"{words}: slope {rows['slope'].abs().max():.3g} at most"
        axes[0][0].plot(rows["z"], rows["value"], label=label)
        axes[0][1].plot(rows["z"], rows["slope"])
    axes[0][0].set(title="Activation f(z)", xlabel="z", ylabel="f(z)")
    axes[0][1].set(title="Its slope, which scales the gradient", xlabel="z", ylabel="f'(z)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def flat_units(runs: Sequence[RunView]) -> Figure:
    """Dead units and saturated activations over training, means over the hidden layers, a colour a run."""
    figure, axes = plotting.panels(1, 2, 3.2 + 0.15 * len(runs), sharey=True)
    columns = ["dead_fraction", "saturated_fraction"]
    looks = zip(plotting.colours(len(runs)), plotting.markers(len(runs)), strict=True)
    for run, (colour, marker) in zip(runs, looks, strict=True):
        means = hidden_layers(run.tables["layers"]).groupby("step")[columns].mean()
        for ax, column in zip(axes[0], columns, strict=True):
            label = f"{run.label}: {' and '.join(f'{100 * share:.0f} %' for share in means.iloc[-1])}"
            ax.plot(means.index, 100 * means[column], color=colour, marker=marker, markersize=3, label=label)
    for ax, what in zip(axes[0], ("Dead units", "Saturated activations"), strict=True):
        ax.set(title=what, ylim=(-4, 104))
        plotting.step_axis(ax, runs[0].tables["metrics"]["step"].tolist())
    axes[0][0].set_ylabel("%, mean of the hidden layers")
    plotting.legend_below(figure, axes[0][0], columns=2, title="dead and saturated at the end")
    return figure
