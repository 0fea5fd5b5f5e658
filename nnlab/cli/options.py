"""Options that commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

PATH = click.Path(path_type=Path)

Command = TypeVar("Command", bound=Callable[..., object])


class _Seconds(click.FloatRange):
    """A finite number of seconds, 0 or more."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no time", param, ctx)
        return seconds


allow_drift = click.option(
    "--allow-drift",
    is_flag=True,
    help="Go on although config, data, versions, device or threads differ; environment.json records it.",
)
checkpoint_every = click.option(
    "--checkpoint-every",
    type=_Seconds(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between a run's checkpoints, 0 for one a chunk; one is written at its end, too.",
)
on_platform = click.option(
    "--platform", type=click.Choice(["auto", "cpu", "gpu", "tpu"]), default="auto", help="Device to train on."
)
deterministic = click.option(
    "--deterministic",
    is_flag=True,
    help="Let a GPU compute the same bits each time, which is slower. A CPU does so anyway.",
)
no_plots = click.option("--no-plots", is_flag=True, help="Draw no figures at the end.")
quiet = click.option("--quiet", is_flag=True, help="Print nothing but errors.")


def _import_modules(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    from nnlab.registry import import_module_beside

    for name in names:
        import_module_beside(name)


import_modules = click.option(
    "--import",
    multiple=True,
    metavar="MODULE",
    expose_value=False,
    callback=_import_modules,
    help="Import a module that registers components, such as one in this folder; may be given again.",
)

_OF_SWEEP = (
    import_modules,
    click.option(
        "--jobs", type=click.IntRange(1, 1024), help="Worker processes; default one a core, or a GPU."
    ),
    click.option(
        "--engine",
        metavar="local|ray|ray://HOST:PORT",
        default="local",
        help="Where trials run: on this machine (default), or by actors of Ray; with a cluster's address, "
        "on its nodes, which have this Python and the sweep directory at the same paths; takes --jobs.",
    ),
    click.option(
        "--launcher",
        metavar="COMMAND",
        help="Start each worker by this command, such as 'srun -n1 -c1 --exact' or 'ssh host', on hosts that "
        "have this Python and the sweep directory at the same paths; takes --jobs.",
    ),
    click.option(
        "--out", type=PATH, help="Sweep directory; default results/<name>-sweep-<hash of the experiment>."
    ),
    click.option(
        "--resume/--force",
        default=True,
        help="Run what is missing or failed (default), or all trials anew.",
    ),
    allow_drift,
    checkpoint_every,
    click.option("--fail-fast", is_flag=True, help="Stop at the first trial that fails."),
    on_platform,
    deterministic,
    click.option("--dry-run", is_flag=True, help="Print trials, programs and estimated cost; run nothing."),
    no_plots,
    quiet,
)


def of_sweep(command: Command) -> Command:
    """Give a command the options of one that runs a sweep, see `Settings`."""
    for option in reversed(_OF_SWEEP):
        command = option(command)
    return command
