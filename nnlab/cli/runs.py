"""runs, remove: the directories of runs and sweeps, listed, chosen and removed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nnlab
from nnlab.cli.options import PATH, import_modules
from nnlab.errors import NnlabError, UsageError
from nnlab.text import format_bytes, short_value

if TYPE_CHECKING:
    from nnlab.runs.catalogue import Entry

where = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only those of which this holds, or !=, <, <=, >, >=; may be given again. A field is a value of "
    "summary.json (final.test_accuracy), a key of the experiment (optimizer.learning_rate), or one of run, "
    "status, expectations.",
)


@click.command(short_help="List the runs and sweeps in a folder.")
@click.argument("folder", default="results", type=PATH)
@where
@click.option("--sort", metavar="FIELD", default="", help="Sort by a field; those without it come last.")
@click.option("--descending", is_flag=True, help="Sort from the largest to the smallest.")
@import_modules
def runs(folder: Path, conditions: tuple[str, ...], sort: str, descending: bool) -> None:
    """List the runs and sweeps in FOLDER (default: results), all or those that are asked for.

    The fields that are asked for are columns of the table. A run that was killed is interrupted.
    """
    from nnlab.cli.output import print_table
    from nnlab.runs.catalogue import find_entries, parse_condition

    if descending and not sort:
        raise UsageError("--descending: by what? --sort names a field")
    entries = find_entries(folder, conditions, sort, descending)
    asked = dict.fromkeys([*(parse_condition(text).field for text in conditions), *([sort] if sort else [])])
    shown = [field for field in asked if field not in ("run", "status", "expectations")]
    head = ("run", "status", "steps", "expectations", *shown, "final")
    print_table(head, [_row(entry, shown) for entry in entries], unbroken=(0, *range(4, 4 + len(shown))))


def _row(entry: Entry, shown: Sequence[str]) -> tuple[str, ...]:
    """A run or a sweep as a row of the list."""
    run = entry.result
    if run is None:
        return (entry.path.name, entry.fields["status"], "", "", *("" for _ in shown), entry.problem)
    verdicts, final = run.check(), run.summary.get("final", {})
    held = f"{sum(verdict.holds for verdict in verdicts)} of {len(verdicts)} hold"
    return (
        entry.path.name,
        run.status,
        f"{len(run.trials)} trials" if isinstance(run, nnlab.Sweep) else str(run.summary.get("step", "")),
        "-" if not len(verdicts) else "not yet" if verdicts.pending else held,
        *(short_value(entry.fields.get(field)) for field in shown),
        ", ".join(f"{n} {final[n]:.4g}" for n in _headline(final) if f"final.{n}" not in shown),
    )


def _headline(final: Mapping[str, object]) -> list[str]:
    """The loss and accuracy of the split that is reported."""
    from nnlab.config.split_roles import recorded_splits, reported_split

    split = reported_split(recorded_splits(final, "loss"))
    return [name for name in (f"{split}_loss", f"{split}_accuracy") if final.get(name) is not None]


@click.command(short_help="Remove runs and sweeps, after showing which.")
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@where
@click.option("--yes", is_flag=True, help="Remove them without asking.")
@import_modules
def remove(paths: tuple[Path, ...], conditions: tuple[str, ...], yes: bool) -> None:
    """Show the runs and sweeps at PATH..., with their sizes, and remove them when told to.

    With --where, each PATH is a folder of runs (default: results), of which those are meant. Removed is only
    what nnlab wrote, in a folder `results`, while no process is at work there; links are not followed.
    """
    from nnlab.cli.output import print_table
    from nnlab.runs.removal import removable
    from nnlab.runs.removal import remove as remove_run

    if not (paths or conditions):
        raise UsageError("remove: name the directories of runs or sweeps, or choose them by --where")
    found, problems = [], []
    chosen = _chosen(paths, conditions) if conditions else paths
    for path in {os.path.abspath(path): path for path in chosen}.values():  # noqa: PTH100 - keeps links
        try:
            found.append(removable(path))
        except NnlabError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    rows = [(str(one.path), one.status, format_bytes(one.bytes)) for one in found]
    if rows:
        print_table(("to remove", "status", "size"), rows, right=[2])
    count = "1 directory" if len(rows) == 1 else f"{len(rows)} directories"
    total = f"{count}, {format_bytes(sum(one.bytes for one in found))}"
    if not rows or not (yes or _confirmed(f"remove {total}?")):
        click.echo("nothing is removed", err=True)
        return
    for one in found:
        remove_run(one.path)
    click.echo(f"removed {total}")


def _chosen(folders: Sequence[Path], conditions: Sequence[str]) -> list[Path]:
    """The directories in these folders that meet the conditions."""
    from nnlab.runs.catalogue import find_entries

    for folder in folders:
        if any((folder / f"{name}.yaml").exists() for name in ("config", "sweep")):
            raise UsageError(f"{folder}: is a run; --where chooses among those of a folder")
    return [
        entry.path for folder in folders or [Path("results")] for entry in find_entries(folder, conditions)
    ]


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        raise UsageError("nothing is removed: there is no answer; --yes removes without asking") from None
