"""report, watch: what runs and sweeps came to, or are coming to, as a page."""

from __future__ import annotations

import contextlib
import signal
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


@click.command(short_help="Follow a run or sweep in a browser.")
@click.argument("path", type=PATH)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of this machine; default a free one."
)
@import_modules
def watch(path: Path, port: int) -> None:
    """Serve the report of a run or a sweep on this machine while it goes on, curves growing; Ctrl-C ends it.

    Where nothing is at PATH yet, it waits for a run or a sweep to begin there.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        nnlab.watch(path, port, say=click.echo)
