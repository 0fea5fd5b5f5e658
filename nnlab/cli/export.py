"""export: runs and sweeps for other programs."""

from __future__ import annotations

from pathlib import Path

import click

import nnlab
from nnlab.cli.options import PATH, import_modules
from nnlab.errors import UsageError


@click.command(short_help="Write runs for TensorBoard, or their tables as CSV or Parquet.")
@click.argument("form", type=click.Choice(["tensorboard", "csv", "parquet"]), metavar="FORMAT")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option(
    "--out", type=PATH, help="Folder to write into; default PATH/FORMAT; for several, FORMAT beside them."
)
@import_modules
def export(form: str, paths: tuple[Path, ...], out: Path | None) -> None:
    """Write the runs and sweeps at PATH... in a FORMAT: tensorboard, csv or parquet.

    tensorboard: event files with every number of every table, a folder a run; a sweep's axes are
    hyperparameters. csv, parquet: of a sweep the tables of all complete trials joined, with the trial, its
    axes and seed beside each row; of a run its tables.
    """
    from nnlab.runs.export import export_tables, export_tensorboard

    several = len(paths) > 1
    home = out or (paths[0].parent if several else paths[0]) / form
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        raise UsageError("export: several directories have the same name; export them one by one")
    results = [nnlab.open(path) for path in paths]  # all of them before anything is written
    for result, name in zip(results, names, strict=True):
        folder = home / name if several else home
        if form == "tensorboard":
            written = export_tensorboard(result, folder)
        else:
            written = export_tables(result, folder, "csv" if form == "csv" else "parquet")
        for file in written:
            click.echo(file)
