"""What the benchmarks share: contestants take turns; costs and goals are printed as tables in Markdown.

Wall-clock seconds are what a user waits, but on a shared machine they say as much of the others. CPU seconds,
user and system, of all threads and of all processes that were started, say what the work itself takes. The
peak memory of a process counts that of its parent when it was started, so whoever measures it imports nothing
large.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

CORES = len(os.sched_getaffinity(0))
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Cost(NamedTuple):
    """What something takes.

    Attributes:
        wall_clock: Seconds from start to end.
        cpu: CPU seconds.
        peak: Peak resident memory of its largest process in MiB, where it is a process of its own.
    """

    wall_clock: float
    cpu: float
    peak: float = math.nan

    def per(self, count: float) -> Cost:
        """The seconds divided by a number of steps."""
        return self._replace(wall_clock=self.wall_clock / count, cpu=self.cpu / count)


QUANTITIES = {"wall_clock": "wall-clock", "cpu": "CPU seconds", "peak": "peak memory"}
Quantity = Literal["wall_clock", "cpu", "peak"]


class Goal(NamedTuple):
    """A ratio within one run, and what it should be at most, or at least."""

    what: str
    quantity: Quantity
    measured: float
    bound: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def goals(
    what: str, ours: Cost, others: Collection[Cost], bound: float, *quantities: Quantity
) -> Iterable[Goal]:
    """Goals of each quantity: what we take, divided by what the best of the others takes."""
    for quantity in quantities:
        best = min((getattr(other, quantity) for other in others), default=None)
        if best is not None:
            yield Goal(what, quantity, getattr(ours, quantity) / best, bound)


def least(costs: Iterable[Cost]) -> Cost:
    """The least of each quantity, over several rounds."""
    return Cost(*map(min, zip(*costs, strict=True)))


def measured(call: Callable[[], object]) -> Callable[[], Cost]:
    """A call in this process as a contestant."""

    def contestant() -> Cost:
        began, cpu = time.perf_counter(), time.process_time()
        call()
        return Cost(time.perf_counter() - began, time.process_time() - cpu)

    return contestant


def race(contestants: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """The least that each contestant takes in its rounds; unless there is one only, another warms up."""
    found: dict[str, list[Cost]] = {name: [] for name in contestants}
    for number in range(rounds + (rounds > 1)):
        for name, contestant in contestants.items():
            cost = contestant()
            if number or rounds == 1:
                found[name].append(cost)
    return {name: least(costs) for name, costs in found.items()}


def clean_environment(**more: str) -> dict[str, str]:
    """This one without what would change threads, devices or caches."""
    prefixes = ("JAX_", "XLA_", "PJRT_", "OMP_", "OPENBLAS_", "MKL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"JAX_PLATFORMS": "cpu"} | more


def run_process(
    command: Sequence[str], environment: Mapping[str, str], codes: Sequence[int] = (0,)
) -> tuple[Cost, str]:
    """What a process and all that it starts take, and what it prints.

    Args:
        command: What to run.
        environment: Its environment variables.
        codes: Exit codes that are no failure.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout:
        printed = process.stdout.read()
    return finished(process, began, codes), printed


def finished(process: subprocess.Popen[str], began: float, codes: Sequence[int] = (0,)) -> Cost:
    """Wait for a process; what it and all that it started took since it began, by `time.perf_counter`."""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in codes:
        sys.exit(f"{' '.join(map(str, process.args))}: exit code {process.returncode}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    cells = [list(head), *map(list, rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for first, *others in (cells[0], rule, *cells[1:]):
        right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("| " + " | ".join([first.ljust(widths[0]), *right]) + " |")
    return "\n".join(lines)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(table(head, rows))


def print_costs(title: str, costs: Mapping[str, Cost], unit: Literal["s", "ms", "µs"] = "s") -> None:
    """What each contestant takes, and what the first of them, which is ours, takes as a ratio of that."""
    scale = {"s": 1.0, "ms": 1e3, "µs": 1e6}[unit]
    ours = next(iter(costs.values()))
    has_peaks = not all(math.isnan(cost.peak) for cost in costs.values())
    head = ["", f"wall-clock, {unit}", f"CPU, {unit}", *(["peak, MiB"] if has_peaks else [])]
    rows = []
    for name, cost in costs.items():
        row = [name, f"{cost.wall_clock * scale:.2f}", f"{cost.cpu * scale:.2f}"]
        row += [f"{cost.peak:.0f}" if has_peaks and not math.isnan(cost.peak) else ""] * has_peaks
        row += [f"{ours.wall_clock / cost.wall_clock:.2f}", f"{ours.cpu / cost.cpu:.2f}"]
        rows.append(row)
    print(f"{title}\n")
    print_table([*head, "first / this", "first / this, CPU"], rows)
    print()


def print_goals(found: Iterable[Goal]) -> None:
    """The end of every benchmark: each goal, whether it is met, and by how much."""
    print_table(
        GOAL_COLUMNS,
        [
            [
                goal.what,
                QUANTITIES[goal.quantity],
                f"{goal.measured:.3f}",
                f"{'>=' if goal.at_least else '<='} {goal.bound:g}",
                "met" if goal.is_met else "missed",
            ]
            for goal in found
        ],
    )


GOAL_COLUMNS = ("goal", "of", "measured", "bound", "verdict")


def print_compile_share(seconds: float, one: Cost, ones: str) -> None:
    """How many CPU seconds compiling takes beside the training of so much: steps, or epochs."""
    count = seconds / one.cpu
    print(f"nnlab compiles for {seconds:.2f} CPU s, as long as {count:,.1f} {ones} take.\n")


def note_missing(package: str) -> None:
    print(f"{package} is not installed (`make bench` installs it); the others go on without it.\n")
