"""Which figures a run has, and drawing them to files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import recorded_splits, reported_split
from nnlab.errors import InvalidValue, NnlabError, UsageError
from nnlab.optim.schedules import Time
from nnlab.phenomena.base import loss_label
from nnlab.runs.labels import with_distinct_labels
from nnlab.runs.results import Run, Sweep
from nnlab.runs.resume import Notify, ignore
from nnlab.runs.sweep_figure import sweep_overview
from nnlab.runs.sweep_points import check_axes
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import name_in_words, one_line, suggestion
from nnlab.training.experiment import Experiment, TrainedExperiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_SCHEDULE_POINTS = 1_000  # of a learning rate that is drawn before it is trained

DrawFunction = Callable[[Sequence[Any]], "Figure"]
Results = Sequence[Run | Sweep]


def available(results: Results) -> dict[str, DrawFunction]:
    """The figures in which all of the runs, or all of the sweeps, can be drawn, by name."""
    shared: Mapping[str, DrawFunction] | None = None
    for result in results:
        figures = _figures_of(result)
        shared = figures if shared is None else {n: draw for n, draw in shared.items() if n in figures}
    return dict(shared or {})


def _figures_of(result: Run | Sweep) -> dict[str, DrawFunction]:
    figures: dict[str, DrawFunction] = {}
    if isinstance(result, Run):
        metrics = result.tables.get("metrics")
        if metrics is not None and len(metrics) and "train_loss" not in metrics:  # it is yet to be trained
            return {"learning_rate": learning_rate}
        if result.config.tree["solver"] is None:
            figures["training_curves"] = training_curves
        if metrics is not None and "learning_rate" in metrics and metrics["learning_rate"].nunique() > 1:
            figures["learning_rate"] = learning_rate
        for phenomenon in result.config.build().run_phenomena:
            figures |= phenomenon.figures if phenomenon.end_tables <= result.tables.keys() else {}
    else:
        for phenomenon in result.config.build().sweep_phenomena:
            figures |= phenomenon.figures
        if not figures:
            figures["sweep"] = sweep_overview
    return figures


def draw(
    results: Results,
    folder: Path,
    names: Sequence[str] = (),
    form: str = "png",
    linked: bool = False,
    notify: Notify = ignore,
) -> list[Path]:
    """Draw figures of runs, or of sweeps, to files.

    Args:
        results: Runs or sweeps; several come on one axes.
        folder: Where to write.
        names: The figures to draw; without names, all that these results have what it takes for.
        form: `png`, `svg` or `pdf`.
        linked: Whether the folder may be a symbolic link. That of a run must not be, lest a run from
            elsewhere lead output out of itself.
        notify: Called with a line for each figure that has nothing to show, unless it was named.

    Returns:
        The files, in the order of the figures. One that has nothing to show, and was not named, has none.

    Raises:
        UsageError: A figure is unknown or has nothing to show, or the results are damaged.
    """
    if folder.is_symlink() and not linked:
        raise UsageError(f"{folder}: is a symbolic link; remove it, or name another folder with plot --out")
    if len({type(result) for result in results}) > 1:
        raise UsageError("plot: runs and sweeps do not come on one axes; name the one or the other")
    figures = available(results)
    for name in names:
        _check_name(name, figures, f"--figure {name}")
    for result in results:
        _check_records(result)
    labelled = with_distinct_labels(results)
    paths = []
    for name in names or figures:
        path = folder / f"{name}.{form}"
        with plotting.style(), _damage_named(name, results):
            try:
                figure = figures[name](labelled)
                plotting.refuse_blank(figure)
            except InvalidValue as error:
                if names:
                    raise UsageError(f"--figure {name}: {one_line(str(error))}") from None
                notify(f"{path}: not drawn: {one_line(str(error))}")
                continue
            plotting.save(figure, path)
        paths.append(path)
    return paths


def draw_figure(results: Results, name: str) -> Figure:
    """Draw one figure of runs, or of sweeps, for a notebook; see `Run.figure`. Raises UsageError."""
    figures = available(results)
    _check_name(name, figures, f"figure '{name}'")
    for result in results:
        _check_records(result)
    with plotting.style(), _damage_named(name, results):
        try:
            figure = figures[name](with_distinct_labels(results))
            plotting.refuse_blank(figure)
        except InvalidValue as error:
            raise UsageError(f"figure '{name}': {one_line(str(error))}") from None
        return plotting.shown_inline(figure)


def _check_name(name: str, figures: Mapping[str, DrawFunction], title: str) -> None:
    """Refuse a figure that is not there. Raises UsageError, which lists those that are."""
    if name not in figures:
        known = f"there are {', '.join(figures)}" if figures else "there are none"
        if not name:
            raise UsageError(f"name a figure; {known}")
        raise UsageError(f"{title}: unknown{suggestion(name, figures) or ';'} {known}")


@contextlib.contextmanager
def _damage_named(name: str, results: Results) -> Iterator[None]:
    """Turn what goes wrong with a figure into one line that names the directories."""
    try:
        yield
    except NnlabError:
        raise
    except Exception as error:
        # Config, summary and tables come from a disk, may be damaged or of different runs, and meet here code
        # that takes them as nnlab leaves them: they break it in more ways than reading could check. A mistake
        # of that code itself is not hidden: its words are in the line, and the tests call it directly.
        places = ", ".join(str(result.path) for result in results)
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UsageError(
            f"{places}: figure '{name}' cannot be drawn of what its files hold ({reason})"
        ) from error


def _check_records(result: Run | Sweep) -> None:
    table = result.tables.get("metrics") if isinstance(result, Run) else result.completed_trials
    if isinstance(result, Sweep):
        check_axes(result)
    if table is None or table.empty:
        what = "records" if isinstance(result, Run) else "complete trials"
        raise UsageError(f"{result.path}: has no {what}, nothing to draw")


def training_curves(runs: Sequence[Run]) -> Figure:
    """Draw loss, for a classification error, and other metrics over training: a line style for each split, a
    colour for each run."""
    asked = [metric.title for run in runs for metric in run.config.build().metrics]
    columns = [
        what
        for what in dict.fromkeys(["loss", "accuracy", *asked])
        if any(f"train_{what}" in run.tables["metrics"] for run in runs)
    ]
    across = min(len(columns), plotting.PANELS_ACROSS)
    rows = -(-len(columns) // across)
    figure, axes = plotting.panels(rows, across, (3.3 if across > 1 else 3.8) * rows + 0.15 * len(runs))
    for ax in axes.flat[len(columns) :]:
        ax.remove()
    for ax, what in zip(axes.flat, columns, strict=False):
        heights = [
            value
            for run, colour in zip(runs, plotting.colours(len(runs)), strict=True)
            for value in _draw_splits(ax, run, what, colour if len(runs) > 1 else None)
        ]
        plotting.step_axis(ax, runs[0].tables["metrics"]["step"].tolist())
        ax.set_title(plotting.title(_curves_title(runs, what, is_first=what == columns[0]), across))
        if what == "loss":
            ax.set_ylabel(loss_label(runs))
            plotting.log_if_wide(ax, heights)
        elif what == "accuracy":
            ax.set_ylabel("error, % of examples")
            ax.set_ylim(0, 100 if max(heights) > 50 else None)
        else:
            ax.set_ylabel(name_in_words(what))
    if len(runs) == 1:
        plotting.legend(axes[0][0])
    else:
        plotting.colour_legend(figure, [run.label for run in runs], plotting.SPLIT_KEY)
    return figure


def _draw_splits(ax: Axes, run: Run, what: str, colour: plotting.Colour | None) -> list[float]:
    """Draw a curve for each split of a run, and return the values of all."""
    metrics, heights = run.tables["metrics"], []
    for split, style in plotting.SPLIT_STYLES.items():
        if f"{split}_{what}" not in metrics:
            continue
        values = metrics[f"{split}_{what}"]
        values = 100 * (1 - values) if what == "accuracy" else values
        label = None if colour else name_in_words(split)
        ax.plot(metrics["step"], values, style, color=colour or plotting.SPLIT_COLOURS[split], label=label)
        heights += values.tolist()
    return heights


def _curves_title(runs: Sequence[Run], what: str, is_first: bool) -> str:
    """What a metric came to, of the split that is reported; of several runs, its name."""
    is_error = what == "accuracy"
    words = "error" if is_error else name_in_words(what)
    if len(runs) > 1:
        return words[:1].upper() + words[1:]
    final = runs[0].tables["metrics"].iloc[-1]
    split = reported_split(recorded_splits(final.index, what))
    value = final[f"{split}_{what}"]
    found = f"{100 * (1 - value):.1f} %" if is_error else plotting.scientific(value)
    came_to = f"{name_in_words(split)} {words} ends at {found}"
    return f"{runs[0].label}: {came_to}" if is_first else came_to[:1].upper() + came_to[1:]


def learning_rate(runs: Sequence[Run]) -> Figure:
    """Draw the learning rate over training, of one run or several."""
    figure, axes = plotting.panels(1, 1, 3.4)
    ax, rates = axes[0][0], list[float]()
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        metrics = run.tables["metrics"]
        ax.plot(metrics["step"], metrics["learning_rate"], color=colour, label=run.label)
        rates += metrics["learning_rate"].tolist()
    plotting.step_axis(ax, runs[0].tables["metrics"]["step"].tolist())
    low, high = plotting.scientific(min(rates)), plotting.scientific(max(rates))
    whose = f"{runs[0].label}: learning rate" if len(runs) == 1 else "Learning rate"
    ax.set(ylabel="learning rate", title=plotting.title(f"{whose} between {low} and {high}"))
    plotting.log_if_wide(ax, rates)
    plotting.legend(ax)
    return figure


def untrained_run(experiment: Experiment) -> Run:
    """A run of an experiment that is yet to be trained, with its learning rate as the only table. Raises
    ConfigError where the rate depends on the loss."""
    import pandas

    config = experiment.config
    if not isinstance(experiment, TrainedExperiment):
        raise config.error(("solver",), "takes no steps, there is no learning rate to draw")
    schedule = experiment.optimizer.learning_rate
    memory, total = schedule.init(), experiment.rounds.steps
    if jax.tree.leaves(memory):
        message = "goes by the loss as it trains; `nnlab plot` of the run draws it"
        raise config.error(("optimizer",), message)

    def rate(step: Array) -> Array:
        return schedule.rate(memory, Time(step, total, experiment.steps_per_epoch))

    steps = sorted({round(total * i / MAXIMUM_SCHEDULE_POINTS) for i in range(MAXIMUM_SCHEDULE_POINTS + 1)})
    rates = jax.jit(jax.vmap(rate))(jnp.array(steps, jnp.int32))
    table = pandas.DataFrame({"step": steps, "learning_rate": np.asarray(rates)})
    return Run(Path(config.document.source), config, {}, {"metrics": table})
