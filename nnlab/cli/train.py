"""train, validate, summary, new, info."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

import nnlab
from nnlab.cli import completion, options
from nnlab.cli.options import PATH
from nnlab.errors import Interrupted, NnlabError, RunStatus, UsageError
from nnlab.text import suggestion

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.runs.results import Run
    from nnlab.runs.resume import ResumePolicy

EXIT_CODES = {RunStatus.COMPLETE: 0, RunStatus.DIVERGED: 3}


@click.command(short_help="Train an experiment and judge its expectations.")
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...", shell_complete=completion.overrides)
@click.option("--out", type=PATH, help="Run directory; default results/<name>-<hash of the config>.")
@click.option(
    "--resume/--force",
    default=True,
    help="Go on from the last checkpoint, reuse what is finished (default), or train anew.",
)
@options.allow_drift
@options.checkpoint_every
@options.on_platform
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Threads on CPU, on which the last digits depend; default 1, or one a core where steps are large. "
    "A sweep's trials have 1.",
)
@options.deterministic
@click.option(
    "--process",
    metavar="K/N@HOST:PORT",
    help="This is process K, from 0, of N that train the run together, on train.devices: all; process 0 "
    "writes it, and listens there to the others, which see its directory. 'slurm': the tasks of srun.",
)
@click.option(
    "--smoke", is_flag=True, help="Only see that it runs: four steps on a slice of the data, no verdict."
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything and print the complete config; train nothing."
)
@options.no_plots
@options.quiet
@options.import_modules
def train(
    config: Path,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: bool,
    allow_drift: bool,
    checkpoint_every: float,
    platform: str,
    threads: int | None,
    deterministic: bool,
    process: str | None,
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
    from nnlab.runs.resume import ResumePolicy

    experiment = nnlab.load(config, *overrides, smoke=smoke)
    policy = ResumePolicy(checkpoint_every, resume, allow_drift)
    if dry_run:
        _print_plan(experiment, out, policy, quiet)
    else:
        train_and_report(
            experiment,
            out,
            platform,
            policy,
            plots=not no_plots,
            quiet=quiet,
            threads=threads,
            deterministic=deterministic,
            process=process,
        )


def train_and_report(
    experiment: Config,
    out: Path | None,
    platform: str,
    policy: ResumePolicy,
    plots: bool,
    quiet: bool,
    threads: int | None = None,
    deterministic: bool = False,
    process: str | None = None,
) -> NoReturn:
    """Train an experiment or reuse its finished run, print the outcome, and leave with the exit code."""
    from nnlab.runs.signals import exit_at_second_signal
    from nnlab.system.process import Process

    quiet = quiet or (process is not None and Process.of(process).number != 0)  # process 0 speaks for all
    try:
        with exit_at_second_signal():
            run = nnlab.train(
                experiment,
                out,
                resume=policy.resume,
                allow_drift=policy.allow_drift,
                checkpoint_every=policy.every,
                platform=platform,
                threads=threads,
                deterministic=deterministic,
                process=process,
                plots=plots,
                progress=not quiet and sys.stderr.isatty(),
                notify=lambda line: say(line, quiet),
            )
    except Interrupted as interruption:
        if not quiet:
            from nnlab.runs.results import open_run

            _print_run(open_run(interruption.path))
        without = "" if policy.resume else " without --force"
        seed = f" with seed={experiment.tree['seed']}" if experiment.document.has_drawn_seed else ""
        words = f"interrupted; the same command{without}{seed} goes on from its last checkpoint"
        say(f"{interruption.path}: {words}", quiet)
        sys.exit(128 + interruption.signal)
    if not quiet:
        _print_run(run)
    if run.status is RunStatus.DIVERGED:
        step = run.summary.get("diverged_at", "?")  # a summary from elsewhere may lack it
        click.echo(f"{run.path}: diverged at step {step}: not all numbers are finite any longer", err=True)
    sys.exit(EXIT_CODES[run.status] or int(not run.check()))


def _print_run(run: Run) -> None:
    from nnlab.cli.output import print_run  # not before the training: it is what `rich` is for

    print_run(run)


def _print_plan(experiment: Config, out: Path | None, policy: ResumePolicy, quiet: bool) -> None:
    """Print the complete config and what training it would take. Raises NnlabError where it cannot be."""
    from nnlab.runs.reuse import is_finished
    from nnlab.runs.train import check_single, default_directory
    from nnlab.storage.run_directory import RunDirectory
    from nnlab.system.memory import resident_bytes
    from nnlab.text import format_bytes
    from nnlab.training.cost import probe_costs, step_flops
    from nnlab.training.experiment import build_experiment

    check_single(experiment)
    bound = build_experiment(experiment)
    path = out or default_directory(experiment)
    is_finished(RunDirectory(path), bound, policy)
    if not quiet:
        click.echo(experiment.text, nl=False)
    size = format_bytes(resident_bytes() + bound.footprint.additional_bytes)
    steps = f"{bound.total_steps} steps, {bound.record_count} records"
    for note in bound.notes:
        say(f"note: {note}", quiet)
    for cost in probe_costs(bound):
        each = cost.flops / cost.measurements / step_flops(bound)
        measured = f"measured at {cost.measurements} of {bound.record_count} records"
        say(f"{cost.phenomenon}: {measured}, each time about the work of {each:,.1f} steps", quiet)
    say(f"{path}: {steps}, about {size} of memory; not trained", quiet)


def say(text: str, quiet: bool) -> None:
    """Print a line on stderr, unless nothing but errors is wanted."""
    if not quiet:
        with contextlib.suppress(OSError):  # nobody reads it: no reason to end a run
            click.echo(text, err=True)


@click.command(short_help="Find every mistake in experiment files.")
@click.argument("configs", nargs=-1, required=True, type=PATH, metavar="CONFIG...")
@options.import_modules
def validate(configs: tuple[Path, ...]) -> None:
    """Check experiment files without training: keys, values, data, shapes; every problem at once."""
    failed = False
    for path in configs:
        try:
            config = nnlab.load(path)
            size, notes = _sweep_size(config) if config.tree["sweep"] else _run_size(config)
        except NnlabError as error:
            failed = True
            click.echo(str(error), err=True)
        else:
            click.echo(f"{path}: ok ({size})")
            _echo_notes(path, notes)
    if failed:
        raise click.exceptions.Exit(2)


def _echo_notes(path: Path, notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"{path}: note: {note}")


def _run_size(config: Config) -> tuple[str, Iterable[str]]:
    """How large the training of an experiment is, and notes about its data. Raises ConfigError."""
    from nnlab.training.experiment import build_experiment

    experiment = build_experiment(config)
    parameters = experiment.model.setup.count("params")
    return f"{parameters:,} parameters, {experiment.total_steps:,} steps", experiment.notes


def _sweep_size(config: Config) -> tuple[str, Iterable[str]]:
    """How large a sweep is, and notes about its data. Raises ConfigError."""
    from nnlab.sweeps.plan import fresh_plan

    plan = fresh_plan(config)
    if plan.search is not None:
        return f"{plan.draws:,} trials, chosen as it goes", plan.notes
    return f"{len(plan.trials):,} trials, {len(plan.groups):,} programs", plan.notes


@click.command(short_help="Print the model's layers and parameters.")
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...", shell_complete=completion.overrides)
@options.import_modules
def summary(config: Path, overrides: tuple[str, ...]) -> None:
    """Print the model of CONFIG as a table: layers, output shapes, parameters."""
    from nnlab.cli.output import print_model
    from nnlab.training.experiment import build_experiment

    experiment = build_experiment(nnlab.load(config, *overrides))
    optimizer = experiment.plan.optimizer
    frozen = optimizer.frozen if optimizer else lambda path: False
    inputs = experiment.data.train.inputs.shape[1:]
    print_model(experiment.config.name, inputs, experiment.model.setup, frozen)
    _echo_notes(config, experiment.notes)


@click.command(short_help="Write a shipped experiment to start from.")
@click.argument("name", required=False, shell_complete=completion.experiments)
@click.option("--out", type=PATH, help="File to write; default NAME.yaml in this folder.")
def new(name: str | None, out: Path | None) -> None:
    """Write the shipped experiment NAME to a file of yours, to start from; without NAME, list them.

    Beside it nnlab.schema.json is written, if it is missing, by which editors complete and explain the file.
    """
    from nnlab.config.base import read_with_base, shipped_experiments
    from nnlab.config.json_schema import EDITOR_LINE, SCHEMA_FILE, write_schema

    shipped = shipped_experiments()
    if name is None:
        from nnlab.cli.output import print_table

        rows = [(word, _first_sentence(file.read_text(encoding="utf-8"))) for word, file in shipped.items()]
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
            file.write(EDITOR_LINE + shipped[name].read_text(encoding="utf-8"))
    except FileExistsError:
        raise UsageError(f"{target}: is there already; --out names another file") from None
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from None
    if not (target.parent / SCHEMA_FILE).exists():
        write_schema(target.parent / SCHEMA_FILE)
    command = "sweep" if read_with_base(shipped[name]).tree.get("sweep") else "train"
    click.echo(f"{target}: written; next: nnlab {command} {target}")


def _first_sentence(text: str) -> str:
    """The first sentence of the comment at the head of a file."""
    head = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    return head.split(". ")[0].rstrip(".")


@click.command(short_help="Print versions, devices, threads, locations.")
@options.import_modules
def info() -> None:
    """Print versions, devices, threads and where caches and results are kept."""
    from nnlab.cli.output import print_table
    from nnlab.registry import plugins
    from nnlab.system import device

    device.configure()
    environment = device.environment()
    rows = [
        *environment["versions"].items(),
        *((f"plug-in {module}", origin) for module, origin in plugins().items()),
        *((what, value) for what, value in environment.items() if what != "versions"),
        ("cache", device.cache_folder()),
        ("data sets", _data_sets(device.cache_folder() / "data")),
        ("results", Path("results").resolve()),
    ]
    print_table(("what", "value"), [(key, _text_of(value)) for key, value in rows])


def _data_sets(folder: Path) -> str:
    """The data sets in a folder, whether they were fetched or placed by hand."""
    names = sorted(entry.name for entry in folder.glob("*/")) if folder.is_dir() else []
    return f"{', '.join(names) or 'none yet'} in {folder}"


def _text_of(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
