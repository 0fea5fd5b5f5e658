"""What commands print on stdout: tables that read well in a terminal and in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nnlab.config.document import dump
from nnlab.registry import NNLAB, Component, Section
from nnlab.runs.expectations import Verdicts
from nnlab.text import short_value

if TYPE_CHECKING:
    from nnlab.nn.layer import Setup, Shape
    from nnlab.runs.results import Run, Sweep
    from nnlab.runs.sweep_points import PointTable


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    unbroken: Sequence[int] = (0,),
) -> None:
    """Print a table; where stdout is no terminal, nothing is cut.

    Args:
        head: The columns' titles.
        rows: The cells, as many in each row as there are titles.
        right: The numbers of the columns that are set flush right.
        unbroken: The numbers of the columns whose cells keep to a line.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        table.add_column(
            escape(without_controls(title)),
            justify="right" if number in right else "left",
            overflow="fold",
            no_wrap=number in unbroken,
        )
    for row in rows:
        table.add_row(*(escape(without_controls(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 110
    Console(width=width, highlight=False, emoji=False).print(table)


def print_run(run: Run) -> None:
    """Print a run's outcome: final metrics, each phenomenon's numbers, the verdicts, the figures drawn."""
    config, summary = run.config, run.summary
    final = summary.get("final", {})
    stop_note = f", ended by {summary['stopped_by']}" if "stopped_by" in summary else ""
    click.echo(
        f"{config.name}: {summary['status']} at step {summary.get('step', 0)}{stop_note}, in {run.path}"
    )
    click.echo(f"  {_record_line(final)}")
    plan, selected = config.build(), summary.get("selected", {})
    metric = plan.restoring_metric or "validation_loss"
    if metric in selected and selected.get("step") != final.get("step"):
        adjective = "smallest" if metric == "validation_loss" else "best"
        click.echo(f"  {adjective} {metric.replace('_', ' ')}: {_record_line(selected)}")
    for phenomenon in plan.run_phenomena:
        rows = _number_rows(summary, phenomenon.name, phenomenon.class_fields)
        if rows:
            print_table((phenomenon.name, "found"), rows, right=[1])
    print_verdicts(config.name, run.check())
    for path in run.plots:
        click.echo(path)


def _record_line(record: Mapping[str, object]) -> str:
    values = [f"{name} {short_value(value)}" for name, value in record.items() if name != "step"]
    return without_controls(", ".join(values))


def print_sweep(sweep: Sweep) -> None:
    """Print a sweep's outcome.

    It is how its trials ended, each phenomenon's numbers, the verdicts, the figures, and what each point came
    to.
    """
    summary = sweep.summary
    words = ("complete", "pruned", "diverged", "failed", "missing")
    counts = [f"{summary[word]} {word}" for word in words if summary.get(word)]
    click.echo(f"{sweep.config.name}: {summary['status']}, {', '.join(counts)} trials, in {sweep.path}")
    for row in sweep.trials[sweep.trials["status"] == "failed"].head(5).to_dict("records"):
        click.echo(without_controls(f"  trial {row['trial']} failed: {row['reason']}"))
    for name in ("best", *(phenomenon.name for phenomenon in sweep.config.build().phenomena)):
        rows = _number_rows(summary, name)
        if rows:
            print_table((name, "found"), rows, right=[1])
    print_verdicts(sweep.config.name, sweep.check())
    for path in sweep.plots:
        click.echo(path)
    _print_points(sweep.points_in_words)


def _print_points(points: PointTable) -> None:
    """Print what each point of a sweep came to."""
    click.echo(without_controls(points.title))
    if points.rows:
        print_table(points.head, points.rows, points.right, unbroken=points.right)
    if points.left_out:
        click.echo(f"... and {points.left_out:,} more, all in summary.csv")


def _number_rows(
    summary: Mapping[str, object], name: str, class_fields: Collection[str] = ()
) -> list[tuple[str, str]]:
    """A phenomenon's numbers as rows; none where a summary from elsewhere holds something else.

    Args:
        summary: Of a run or a sweep.
        name: The phenomenon.
        class_fields: Those of its numbers beside which the name of a class is written, where it has one.
    """
    numbers, class_names = summary.get(name), summary.get("class_names")
    if not isinstance(numbers, Mapping):
        return []
    rows = {number: short_value(value) for number, value in numbers.items()}
    if isinstance(class_names, Mapping):
        rows |= {n: f"{rows[n]} ({class_names[rows[n]]})" for n in class_fields if rows.get(n) in class_names}
    return list(rows.items())


def without_controls(text: object) -> str:
    """Text without control characters, which a directory from elsewhere may hold to steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(text))


def print_verdicts(name: str, verdicts: Verdicts) -> None:
    """Print the table of expectations, where there are any."""
    if len(verdicts):
        print_table((f"{name} expects", "bound", "found", "verdict"), verdicts.rows(), right=[2])


def print_model(name: str, input_shape: Shape, setup: Setup, frozen: Callable[[str], bool]) -> None:
    """Print layers with output shapes and parameter counts, as Keras does, and what there is to note.

    Args:
        name: The experiment's name.
        input_shape: The shape of an input, without the batch.
        setup: The model.
        frozen: Whether the layer at a path keeps its first weights.
    """
    rows = [("(input)", "", str([None, *input_shape]), "0", "")]
    for path, leaf in setup.leaves():
        count = leaf.count("params") + leaf.count("state")
        rows.append((path, leaf.type, str([None, *leaf.output_shape]), f"{count:,}", leaf.note))
    head = (f"{name}: layer", "type", "output shape", "parameters", "note")
    width = len(head) if any(note for *_, note in rows) else len(head) - 1
    print_table(head[:width], [row[:width] for row in rows], right=[3])
    total = setup.count("params") + setup.count("state")
    trainable = sum(leaf.count("params") for path, leaf in setup.leaves() if not frozen(path))
    click.echo(f"Total parameters: {total:,}")
    click.echo(f"Trainable parameters: {trainable:,}")
    click.echo(f"Non-trainable parameters: {total - trainable:,}")


def print_component(kind: str, component: Component) -> None:
    """Print a component: its documentation, its keys, an example."""
    click.echo(f"{kind} {component.name}\n\n{component.document}\n")
    if component.origin != NNLAB:
        click.echo(f"Comes from {component.origin}.\n")
    rows = [
        (p.name, p.spec.describe(), "required" if p.required else short_value(p.default))
        for p in component.parameters.values()
    ]
    if rows:
        print_table(("key", "takes", "default"), rows)
    if component.common_document:
        click.echo(f"{component.common_document}\n")
    for parameter in component.parameters.values():
        for section in parameter.spec.parts():
            if isinstance(section, Section):
                click.echo(f"{parameter.name}: {section.document}\n")
    click.echo(f"Example:  {_example(component)}")


def _example(component: Component) -> str:
    """How a component is written in a file: its bare name, or with its keys at defaults or stand-ins."""
    parameters = component.own_parameters.items()
    if not parameters:
        return component.name
    values = {name: p.spec.example() if p.required else p.default for name, p in parameters}
    return dump({"type": component.name, **values}, inline=True).strip()
