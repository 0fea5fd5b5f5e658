"""list, show, schema: the registry, read out."""

from __future__ import annotations

from pathlib import Path

import click

from nnlab.cli.completion import component_names, kinds
from nnlab.cli.options import PATH, import_modules
from nnlab.errors import UsageError
from nnlab.text import join_words, suggestion


@click.command("list", short_help="List the registry, or one kind of it.")
@click.argument("kind", required=False, shell_complete=kinds)
@import_modules
def list_components(kind: str | None) -> None:
    """List the registry: every component, or those of one KIND."""
    from nnlab.cli.output import print_table
    from nnlab.registry import KINDS, NNLAB, components

    if kind is not None:
        _check_kind(kind)
    for name in [kind] if kind else KINDS:
        entries = {n: c for n, c in components(name).items() if kind or c.kind == name}
        rows = [
            (n, c.headline if c.origin == NNLAB else f"{c.headline} [{c.origin}]") for n, c in entries.items()
        ]
        print_table((name, KINDS[name].about), rows)


@click.command(short_help="Show one component: keys, equation, example.")
@click.argument("kind", shell_complete=kinds)
@click.argument("name", shell_complete=component_names)
@import_modules
def show(kind: str, name: str) -> None:
    """Show one component: what it does, its keys and defaults, a reference, and an example."""
    from nnlab.cli.output import print_component
    from nnlab.registry import components

    _check_kind(kind)
    known = components(kind)
    if name not in known:
        raise UsageError(
            f"there is no {kind} '{name}'{suggestion(name, known) or ';'} `nnlab list {kind}` shows all"
        )
    print_component(kind, known[name])


@click.command(short_help="Print the JSON Schema of experiment files.")
@click.option(
    "--out", type=PATH, help="File to write it to, such as nnlab.schema.json beside experiment files."
)
@import_modules
def schema(out: Path | None) -> None:
    """Print the JSON Schema of an experiment file, for editors, or write it to a file.

    An experiment file beside that names it in its first line, as `nnlab new` does:
    # yaml-language-server: $schema=nnlab.schema.json
    """
    from nnlab.config.json_schema import schema_text, write_schema

    if out is None:
        click.echo(schema_text(), nl=False)
    else:
        write_schema(out)
        click.echo(f"{out}: written")


def _check_kind(kind: str) -> None:
    from nnlab.registry import KINDS

    if kind not in KINDS:
        raise UsageError(
            f"there is no kind '{kind}'{suggestion(kind, KINDS) or ';'} "
            f"kinds are {join_words(list(KINDS), 'and')}"
        )
