"""What commands print on stdout: tables that read well in a terminal and in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nnlab.config.document import dump
from nnlab.registry import NNLAB, Component, Section

if TYPE_CHECKING:
    from nnlab.nn.layer import Setup, Shape
    from nnlab.runs.expectations import Verdict
    from nnlab.runs.results import Run, Sweep


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """A table; `right` are the columns set flush right. Beyond a terminal nothing is cut."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        table.add_column(
            escape(_shown(title)),
            justify="right" if number in right else "left",
            overflow="fold",
            no_wrap=number == 0,
        )
    for row in rows:
        table.add_row(*(escape(_shown(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, emoji=False).print(table)


def print_run(run: Run) -> None:
    """A run's outcome: final metrics, each phenomenon's numbers, the verdicts, the figures drawn."""
    config, summary = run.config, run.summary
    final = summary.get("final", {})
    ended = f", ended by {summary['stopped_by']}" if "stopped_by" in summary else ""
    click.echo(f"{config.name}: {summary['status']} at step {summary.get('step', 0)}{ended}, in {run.path}")
    click.echo(f"  {_row(final)}")
    selected = summary.get("selected", {})
    if "validation_loss" in selected and selected.get("step") != final.get("step"):
        click.echo(f"  smallest validation loss: {_row(selected)}")
    for phenomenon in config.build().phenomena:
        rows = _numbers(summary, phenomenon.name)
        if rows:
            print_table((phenomenon.name, "found"), rows, right=[1])
    print_verdicts(config.name, run.check())
    for path in run.plots:
        click.echo(path)


def _row(record: Mapping[str, Any]) -> str:
    return _shown(", ".join(f"{name} {short(value)}" for name, value in record.items() if name != "step"))


def print_sweep(result: Sweep) -> None:
    """A sweep's outcome: how its trials ended, each phenomenon's numbers, the verdicts, the figures."""
    summary = result.summary
    words = ("complete", "pruned", "diverged", "failed", "missing")
    counts = [f"{summary[word]} {word}" for word in words if summary.get(word)]
    click.echo(f"{result.config.name}: {summary['status']}, {', '.join(counts)} trials, in {result.path}")
    for row in result.table[result.table["status"] == "failed"].head(5).to_dict("records"):
        click.echo(_shown(f"  trial {row['trial']} failed: {row['reason']}"))
    for name in ("best", *(phenomenon.name for phenomenon in result.config.build().phenomena)):
        rows = _numbers(summary, name)
        if rows:
            print_table((name, "found"), rows, right=[1])
    print_verdicts(result.config.name, result.check())
    for path in result.plots:
        click.echo(path)


def _numbers(summary: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """A detector's numbers as rows; none where a summary from elsewhere has something else in their place."""
    found = summary.get(name)
    return [(number, short(value)) for number, value in found.items()] if isinstance(found, Mapping) else []


def _shown(text: Any) -> str:
    """Without what would steer the terminal, which a directory from elsewhere may hold."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))


def print_verdicts(name: str, verdicts: Sequence[Verdict]) -> None:
    """The table of expectations."""
    if len(verdicts):  # they are true only where all of them hold
        rows = [
            (key, bound, short(found), "holds" if holds else "FAILS") for key, bound, found, holds in verdicts
        ]
        print_table((f"{name} expects", "bound", "found", "verdict"), rows, right=[2])


def print_model(name: str, input_shape: Shape, setup: Setup, frozen: Callable[[str], bool]) -> None:
    """Layers with output shapes and parameter counts, as Keras prints them. frozen: whether the layer at a
    path keeps its first weights."""
    rows = [("(input)", "", str([None, *input_shape]), "0")]
    for path, leaf in setup.leaves():
        count = leaf.count("params") + leaf.count("state")
        rows.append((path, leaf.type, str([None, *leaf.output_shape]), f"{count:,}"))
    print_table((f"{name}: layer", "type", "output shape", "parameters"), rows, right=[3])
    total = setup.count("params") + setup.count("state")
    trainable = sum(leaf.count("params") for path, leaf in setup.leaves() if not frozen(path))
    click.echo(f"Total parameters: {total:,}")
    click.echo(f"Trainable parameters: {trainable:,}")
    click.echo(f"Non-trainable parameters: {total - trainable:,}")


def print_component(kind: str, component: Component) -> None:
    """Documentation, keys and an example of a component."""
    click.echo(f"{kind} {component.name}\n\n{component.document}\n")
    if component.origin != NNLAB:
        click.echo(f"Comes from {component.origin}.\n")
    own = component.own_parameters
    rows = [
        (p.name, p.spec.describe(), "required" if p.required else short(p.default))
        for p in component.parameters.values()
    ]
    if rows:
        print_table(("key", "takes", "default"), rows)
    if len(component.parameters) > len(own):
        shared = [name for name in component.parameters if name not in own]
        click.echo(f"Every {component.kind} takes {', '.join(shared)}.\n")
    for parameter in component.parameters.values():
        for section in parameter.spec.parts():
            if isinstance(section, Section):
                click.echo(f"{parameter.name}: {section.document}\n")
    click.echo(f"Example:  {_example(component)}")


def _example(component: Component) -> str:
    """How it is written in a file: its bare name, or with its own keys at defaults or stand-ins."""
    own = component.own_parameters
    if not own:
        return component.name
    examples = {name: p.spec.example() if p.required else p.default for name, p in own.items()}
    return dump({"type": component.name, **examples}, inline=True).strip()


def short(value: Any) -> str:
    """A value for a table cell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def exact(value: Any) -> str:
    """A value for a table cell, with all its digits; `-` stands for what is not there."""
    return "null" if value is None else str(value) if isinstance(value, float) else short(value)
