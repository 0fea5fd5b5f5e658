"""report: what runs and sweeps came to, as a page."""

from __future__ import annotations

from pathlib import Path

import click

import nnlab
from nnlab.cli.options import PATH, import_modules


@click.command(short_help="Write one HTML page of runs and sweeps.")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="File to write; default PATH/report.html, for several report.html here.",
)
@import_modules
def report(paths: tuple[Path, ...], out: Path | None) -> None:
    """Write one HTML page of runs and sweeps: what was asked, what came out, curves, layers, figures.

    The file is complete in itself: it asks the network for nothing. An earlier report in its place is
    replaced, anything else is not.
    """
    click.echo(nnlab.report(*paths, out=out))
