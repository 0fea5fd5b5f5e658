"""train, validate, summary, new, info."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnlab.cli import options
from nnlab.cli.options import CONFIG
from nnlab.errors import NnlabError, UsageError
from nnlab.text import suggestion

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.runs.resume import Keep
    from nnlab.training.experiment import Experiment
    from nnlab.training.loop import Chunk


@click.command(short_help="Train an experiment and judge its expectations.")
@click.argument("config", type=CONFIG)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...")
@click.option("--out", type=CONFIG, help="Run directory; default results/<name>-<hash of the config>.")
@click.option(
    "--resume/--force",
    default=True,
    help="Go on from the last checkpoint, reuse what is finished (default), or train anew.",
)
@options.allow_drift
@options.checkpoint_every
@options.on_platform
@click.option(
    "--smoke", is_flag=True, help="Only see that it runs: four steps on a slice of the data, no verdict."
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything and print the complete config; train nothing."
)
@options.no_plots
@options.quiet
def train(
    config: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: bool,
    allow_drift: bool,
    checkpoint_every: float,
    platform: str,
    smoke: bool,
    dry_run: bool,
    no_plots: bool,
    quiet: bool,
) -> None:
    """Train the experiment CONFIG and judge its expectations.

    Overrides: a.b=c sets a key, +a.b=c adds one, ~a.b deletes one; list items go by index
    (model.0.units=64). The same command again goes on where a run was interrupted or killed, and leaves the
    bytes of one that never was. SIGINT and SIGTERM end a run at a checkpoint, within seconds.
    """
    from nnlab.config import load
    from nnlab.runs.resume import Keep
    from nnlab.training import memory
    from nnlab.training.experiment import build_experiment

    checked = load(config, overrides, smoke)
    if checked.tree["sweep"] is not None:
        raise checked.error(("sweep",), f"describes many runs: `nnlab sweep {config}` runs them")
    place = out or Path("results") / checked.directory_name
    experiment = build_experiment(checked)
    keep = Keep(checkpoint_every, resume, allow_drift)
    if dry_run:
        _finished(place, experiment, keep)
        if not quiet:
            click.echo(checked.text, nl=False)
        steps, records = experiment.total_steps, len(experiment.record_steps)
        size = memory.shown(memory.resident() + experiment.footprint.more)
        _say(f"{place}: {steps} steps, {records} records, about {size} of memory; not trained", quiet)
        return
    run_once(experiment, place, platform, keep, plots=not no_plots, quiet=quiet)


def run_once(
    experiment: Experiment, place: Path, platform: str, keep: Keep, plots: bool, quiet: bool
) -> NoReturn:
    """Train an experiment, or report the finished run that is there, and leave with its exit code."""
    finished = _finished(place, experiment, keep)
    if finished is not None:
        _reuse(place, experiment.config, finished, plots, quiet)
    _train(experiment, place, platform, keep, plots, quiet)


def _reuse(place: Path, config: Config, summary: Any, plots: bool, quiet: bool) -> NoReturn:
    """Report a run that was finished before."""
    _say(f"{place}: finished before, nothing to do (--force trains anew)", quiet)
    missing = plots and not (place / "plots").exists()
    _report(place, config, summary, _draw(place) if missing else [], quiet)
    sys.exit(_verdict_code(config, summary, 0))


def _train(
    experiment: Experiment, place: Path, platform: str, keep: Keep, plots: bool, quiet: bool
) -> NoReturn:
    from nnlab.runs.run import run
    from nnlab.storage.run_directory import RunDirectory
    from nnlab.system import device
    from nnlab.training.experiment import step_flops

    device.configure(platform, step_flops(experiment))
    directory = RunDirectory(place)
    with directory.held():
        finished = _finished(place, experiment, keep)
        if finished is not None:  # by another process, in the meantime
            _reuse(place, experiment.config, finished, plots, quiet)
        with _progress(experiment, quiet) as watch:
            outcome = run(experiment, directory, watch, keep, lambda line: _say(line, quiet))
        drawn = _draw(place) if plots and not outcome.signal else []
    _report(place, experiment.config, outcome.summary, drawn, quiet)
    if outcome.signal:
        without = "" if keep.resume else " without --force"
        _say(f"{place}: interrupted; the same command{without} goes on from its last checkpoint", quiet)
        sys.exit(outcome.exit_code)
    if outcome.summary["status"] == "diverged":
        step = outcome.summary["diverged_at"]
        click.echo(f"{place}: diverged at step {step}: not all numbers are finite any longer", err=True)
    sys.exit(_verdict_code(experiment.config, outcome.summary, outcome.exit_code))


def _draw(place: Path) -> list[Path]:
    from nnlab.runs.figures import draw
    from nnlab.runs.results import open_run

    return draw([open_run(place)], place / "plots")


def _finished(place: Path, experiment: Experiment, keep: Keep) -> dict[str, Any] | None:
    """The summary of a finished run of this experiment at this place; None where it is to be trained.

    Raises UsageError where the place holds what is no run, or, unless it is to be replaced or gone on with
    all the same, a run of another config or a finished one of other data.
    """
    from nnlab.storage.run_directory import RunDirectory, read_json

    directory = RunDirectory(place)
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place}: is a file, no place for a run directory")
    if not directory.is_run:
        if place.is_dir() and any(not entry.name.startswith(".") for entry in place.iterdir()):
            raise UsageError(f"{place}: holds something that is no run; name another --out")
        return None
    if not keep.resume or not (place / "config.yaml").exists():  # a checkpoint says what it is of
        return None
    same = may_hold(place, experiment.config)
    if not same and not keep.allow_drift:
        raise UsageError(
            f"{place}: holds a run of another config; --allow-drift goes on with it, --force replaces it, "
            "--out names another place"
        )
    try:
        summary = directory.summary()
    except UsageError:  # it has to be made anew
        summary = {}
    ended = summary.get("status") in ("complete", "diverged") and (place / "metrics.csv").is_file()
    if not same or not ended:
        return None
    data = read_json(place / "environment.json").get("data_sha256")
    if data != experiment.data.hash:
        raise UsageError(
            f"{place}: its data have changed since; --force trains anew, --out names another place"
        )
    return summary


def may_hold(place: Path, config: Config) -> bool:
    """Whether the run at this place, where there is one, is of this config."""
    from nnlab.config import check_tree
    from nnlab.config.document import read

    file = place / "config.yaml"
    return not file.exists() or check_tree(read(file)).hash == config.hash


def _verdict_code(config: Config, summary: Any, code: int) -> int:
    from nnlab.runs.expectations import judge
    from nnlab.runs.run import EXIT_CODES

    code = code or EXIT_CODES[summary["status"]]
    return code or int(not all(holds for *_, holds in judge(config, summary)))


@contextlib.contextmanager
def _progress(experiment: Experiment, quiet: bool) -> Iterator[Callable[[Chunk], None] | None]:
    """A bar with loss, accuracy, steps a second and time left; nothing where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(experiment.config.name, total=experiment.total_steps, shown="compiling")
        before, values = 0, list[str]()

        def watch(chunk: Chunk) -> None:
            nonlocal before
            taken = chunk.seconds - chunk.compiling
            rate = (chunk.step - before) / taken if taken > 0 else 0.0
            before = chunk.step
            metrics = chunk.tables["metrics"]
            if len(metrics["step"]):
                values[:] = [f"{name} {metrics[name][-1]:.4g}" for name in _headline(metrics)]
            bar.update(task, completed=chunk.step, shown="  ".join([*values, f"{rate:,.0f} steps/s"]))

        yield watch


def _headline(metrics: Any) -> list[str]:
    """The loss and accuracy to show while training: the validation's where there is one."""
    split = "validation" if "validation_loss" in metrics else "train"
    return [name for name in ("train_loss", f"{split}_loss", f"{split}_accuracy") if name in metrics]


def _report(place: Path, config: Config, summary: Any, drawn: list[Path], quiet: bool) -> None:
    if quiet:
        return
    from nnlab.cli.output import print_run

    print_run(place, config, summary, drawn)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        with contextlib.suppress(OSError):  # nobody reads it: no reason to end a run
            click.echo(text, err=True)


@click.command(short_help="Find every mistake in experiment files.")
@click.argument("configs", nargs=-1, required=True, type=CONFIG, metavar="CONFIG...")
def validate(configs: tuple[Path, ...]) -> None:
    """Check experiment files without training: keys, values, data, shapes; every problem at once."""
    from nnlab.config import load

    failed = False
    for path in configs:
        try:
            config = load(path)
            words = _swept(config) if config.tree["sweep"] else _bound(config)
        except NnlabError as error:
            failed = True
            click.echo(str(error), err=True)
        else:
            click.echo(f"{path}: ok ({words})")
    if failed:
        raise click.exceptions.Exit(2)


def _bound(config: Config) -> str:
    from nnlab.training.experiment import build_experiment

    experiment = build_experiment(config)
    parameters = experiment.model.setup.count("params")
    return f"{parameters:,} parameters, {experiment.total_steps:,} steps"


def _swept(config: Config) -> str:
    from nnlab.sweeps.plan import group_trials, plan_search
    from nnlab.sweeps.trials import trials_of

    searching = plan_search(config)
    if searching is not None:
        return f"{searching.draws:,} trials, chosen as it goes"
    trials = trials_of(config)
    return f"{len(trials):,} trials, {len(group_trials(config, trials)):,} programs"


@click.command(short_help="Print the model's layers and parameters.")
@click.argument("config", type=CONFIG)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...")
def summary(config: Path, overrides: tuple[str, ...]) -> None:
    """Print the model of CONFIG as a table: layers, output shapes, parameters."""
    from nnlab.cli.output import print_model
    from nnlab.config import load
    from nnlab.training.experiment import build_experiment

    experiment = build_experiment(load(config, overrides))
    optimizer = experiment.parts.optimizer
    frozen = optimizer.frozen if optimizer else lambda path: False
    inputs = experiment.data.train.inputs.shape[1:]
    print_model(experiment.config.name, inputs, experiment.model.setup, frozen)


@click.command(short_help="Write a shipped experiment to start from.")
@click.argument("name", required=False)
@click.option("--out", type=CONFIG, help="File to write; default NAME.yaml in this folder.")
def new(name: str | None, out: Path | None) -> None:
    """Write the shipped experiment NAME to a file of yours, to start from; without NAME, list them."""
    from importlib import resources

    shipped = {
        entry.name.removesuffix(".yaml"): entry
        for entry in resources.files("nnlab.shipped").iterdir()
        if entry.name.endswith(".yaml")
    }
    if name is None:
        from nnlab.cli.output import print_table

        rows = [
            (word, _first_sentence(shipped[word].read_text(encoding="utf-8"))) for word in sorted(shipped)
        ]
        print_table(("experiment", "shows"), rows)
        return
    if name not in shipped:
        raise UsageError(
            f"there is no shipped experiment '{name}'{suggestion(name, shipped) or ';'} "
            "`nnlab new` lists them"
        )
    target = out or Path(f"{name}.yaml")
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(shipped[name].read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(f"{target}: is there already; --out names another file") from None
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from None
    command = "sweep" if "\nsweep:" in shipped[name].read_text(encoding="utf-8") else "train"
    click.echo(f"{target}: written; next: nnlab {command} {target}")


def _first_sentence(text: str) -> str:
    head = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    return head.split(". ")[0].rstrip(".")


@click.command(short_help="Print versions, devices, threads, locations.")
def info() -> None:
    """Print versions, devices, threads and where caches and results are kept."""
    from nnlab.cli.output import print_table
    from nnlab.system import device

    device.configure()
    found = device.environment()
    rows = [
        *found["versions"].items(),
        *((what, value) for what, value in found.items() if what != "versions"),
        ("cache", device.cache_folder()),
        ("data sets", _data_sets(device.cache_folder() / "data")),
        ("results", Path("results").resolve()),
    ]
    print_table(("what", "value"), [(key, _in_words(value)) for key, value in rows])


def _data_sets(folder: Path) -> str:
    """Those that were fetched, or placed by hand."""
    names = sorted(entry.name for entry in folder.glob("*/")) if folder.is_dir() else []
    return f"{', '.join(names) or 'none yet'} in {folder}"


def _in_words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
