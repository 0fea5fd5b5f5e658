"""generate: what the model of a text writes."""

from __future__ import annotations

from pathlib import Path

import click

from nnlab.cli.options import PATH, import_modules


@click.command(short_help="Let a run on a text write.")
@click.argument("path", type=PATH, metavar="RUN")
@click.option("--prompt", required=True, help="What it goes on from; printed in front.")
@click.option("--length", type=int, default=200, show_default=True, help="Tokens to write.")
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    help="Divides the outputs; 0 takes the likeliest.",
)
@click.option("--top-k", type=int, help="Draw from so many likeliest tokens; default all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draws.")
@import_modules
def generate(path: Path, prompt: str, length: int, temperature: float, top_k: int | None, seed: int) -> None:
    """Let the model of a finished run on a text write on from a prompt, a token after the other.

    Control characters but line feeds are printed as escapes; `Run.generate` returns them as they are.
    """
    from nnlab.cli.output import without_controls
    from nnlab.runs.results import open_run

    written = open_run(path).generate(prompt, length, temperature, seed, top_k)
    shown = prompt.encode(errors="surrogateescape").decode(errors="replace")
    click.echo(without_controls(shown + written))
