"""Which figures a run has, and drawing them to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnlab import plotting
from nnlab.errors import UsageError, near_miss
from nnlab.results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw = Callable[[Sequence[Run]], "Figure"]


def available(runs: Sequence[Run]) -> dict[str, Draw]:
    """The figures that all of the runs can be drawn in, by name."""
    shared: Mapping[str, Draw] | None = None
    for run in runs:
        own: dict[str, Draw] = {"training_curves": training_curves}
        for phenomenon in run.config.build().phenomena:
            own |= phenomenon.figures
        shared = own if shared is None else {name: draw for name, draw in shared.items() if name in own}
    return dict(shared or {})


def draw(runs: Sequence[Run], folder: Path, names: Sequence[str] = (), form: str = "png") -> list[Path]:
    """Draw figures (all, or those named) into a folder. Raises UsageError."""
    there = available(runs)
    for name in names:
        if name not in there:
            raise UsageError(
                f"--figure {name}: unknown{near_miss(name, there)}; there are {', '.join(there)}"
            )
    for run in runs:
        if run.tables.get("metrics") is None or run.tables["metrics"].empty:
            raise UsageError(f"{run.path}: has no records yet, nothing to draw")
    labelled = _told_apart(runs)
    paths = []
    for name in names or there:
        path = folder / f"{name}.{form}"
        with plotting.style():
            plotting.save(there[name](labelled), path)
        paths.append(path)
    return paths


SPLITS = {"train": "--", "validation": "-", "test": ":"}


def training_curves(runs: Sequence[Run]) -> Figure:
    """Loss and, for a classification, error over training: a line style a split, a colour a run."""
    columns = [
        what for what in ("loss", "accuracy") if any(f"train_{what}" in r.tables["metrics"] for r in runs)
    ]
    figure, axes = plotting.panels(1, len(columns), width=4.1 * len(columns), height=3.4 + 0.15 * len(runs))
    for ax, what in zip(axes[0], columns, strict=True):
        drawn = [
            value
            for run, colour in zip(runs, plotting.colours(len(runs)), strict=True)
            for value in _draw_splits(ax, run, what, colour if len(runs) > 1 else None)
        ]
        plotting.step_axis(ax, runs[0].tables["metrics"]["step"].tolist())
        if what == "loss":
            ax.set(ylabel="mean loss", title=runs[0].label if len(runs) == 1 else "Loss")
            plotting.log_if_wide(ax, drawn)
        else:
            ax.set(ylabel="error, % of examples", title=_outcome(runs))
            ax.set_ylim(0, 100 if max(drawn) > 50 else None)
    if len(runs) == 1:
        plotting.legend(axes[0][0])
        return figure
    lines = [
        axes[0][0].plot([], [], color=colour, label=run.label)[0]
        for run, colour in zip(runs, plotting.colours(len(runs)), strict=True)
    ]
    styles = ", ".join(
        f"{split} {name}" for split, name in zip(SPLITS, ("dashed", "solid", "dotted"), strict=True)
    )
    figure.legend(handles=lines, loc="outside lower center", ncols=2, title=styles)
    return figure


def _draw_splits(ax: Axes, run: Run, what: str, colour: str | None) -> list[float]:
    """Draw the splits of one run, and return what was drawn."""
    metrics, drawn = run.tables["metrics"], []
    for number, (split, style) in enumerate(SPLITS.items()):
        if f"{split}_{what}" not in metrics:
            continue
        values = metrics[f"{split}_{what}"]
        values = values if what == "loss" else 100 * (1 - values)
        label = None if colour else split
        ax.plot(metrics["step"], values, style, color=colour or plotting.COLOURS[number], label=label)
        drawn += values.tolist()
    return drawn


def _outcome(runs: Sequence[Run]) -> str:
    if len(runs) > 1:
        return "Error"
    final = runs[0].tables["metrics"].iloc[-1]
    split = next(s for s in ("test", "validation", "train") if f"{s}_accuracy" in final)
    return f"{split} error ends at {100 * (1 - final[f'{split}_accuracy']):.1f} %"


def _told_apart(runs: Sequence[Run]) -> Sequence[Run]:
    """Runs of one name get their directory's name as label."""
    names = [run.config.name for run in runs]
    return [run if names.count(run.config.name) == 1 else run._replace(title=run.path.name) for run in runs]
