"""What looking for a phenomenon takes: a measurement of its probes, as ratios within one run.

    python benchmarks/probe_cost.py            (a minute of CPU time)
    python benchmarks/probe_cost.py --smoke    (one phenomenon, a few steps: only whether it works)

Each phenomenon whose probes cost something at records, in the first shipped experiment that looks for it. A
record also evaluates all examples, so a measurement is what steps with records and probes take more than the
same steps with records alone. It is told in steps, beside what `nnlab train --dry-run` says: goal <= 2 times
that. What it adds to the memory of the compiled program is XLA's own account. One thread.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from chunks import training
from race import Goal, measured, print_goals, print_table, race

import nnlab
from nnlab.config import Config
from nnlab.training.compilation import programs_for
from nnlab.training.cost import probe_costs, step_flops
from nnlab.training.experiment import Experiment, build_experiment
from nnlab.training.lanes import Lanes

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
MEBIBYTE = 2**20


class Size(NamedTuple):
    """How much is measured: steps, each of them a record, rounds, and how many phenomena; None for all."""

    steps: int
    rounds: int
    phenomena: int | None


FULL, SMOKE = Size(100, 3, None), Size(4, 1, 1)


class Probed(NamedTuple):
    """A phenomenon in an experiment.

    Attributes:
        name: The phenomenon's.
        observed: The experiment, which looks for nothing else.
        plain: The same without it.
        told: What `--dry-run` says of one measurement, in steps.
        measurements: Where each step is a record.
    """

    name: str
    observed: Experiment
    plain: Experiment
    told: float
    measurements: int


def probed(size: Size) -> Iterator[Probed]:
    """Each phenomenon that costs something at records, in the first experiment that looks for it."""
    seen: set[str] = set()
    for path in sorted(EXPERIMENTS.glob("*.yaml")):
        config = nnlab.load(path)
        for phenomenon, chosen in zip(config.build().phenomena, config.tree["phenomena"], strict=True):
            if costs_at_records(phenomenon) and phenomenon.name not in seen and len(seen) != size.phenomena:
                seen.add(phenomenon.name)
                yield in_training(config, phenomenon.name, chosen, size.steps)


def costs_at_records(phenomenon: Any) -> bool:
    """Whether a phenomenon has a probe that goes beyond what a step computes anyway, at records."""
    probes = () if phenomenon.spans_sweep else phenomenon.probes
    return any(probe.passes is not None and probe.record_at == "every_record" for probe in probes)


def in_training(config: Config, name: str, chosen: Any, steps: int) -> Probed:
    """A phenomenon, as its experiment chooses it, in a training of so many steps."""

    def experiment(phenomena: list[Any]) -> Experiment:
        record = {"every": {"steps": 1}, "layers": False}
        changes = {"sweep": None, "expect": {}, "train": {"steps": steps}, "record": record}
        return build_experiment(nnlab.experiment(config.tree | changes | {"phenomena": phenomena}))

    observed = experiment([chosen])
    [cost] = probe_costs(observed)
    told = cost.flops / cost.measurements / step_flops(observed)
    return Probed(name, observed, experiment([]), told, cost.measurements)


def temporary_bytes(experiment: Experiment) -> int:
    """What the compiled program needs beside its arguments and results, by XLA's account."""
    return programs_for(Lanes([experiment])).chunk.memory_analysis().temp_size_in_bytes


def races(size: Size) -> Iterator[tuple[list[str], Goal]]:
    """For each phenomenon its row, and its goal."""
    for one in probed(size):
        contestants = {
            "steps": measured(training([one.plain])),
            "records": measured(training([one.plain], 1)),
            "measurements": measured(training([one.observed], 1)),
        }
        costs = race(contestants, size.rounds)
        step = costs["steps"].cpu / size.steps
        measurement = (costs["measurements"].cpu - costs["records"].cpu) / one.measurements
        memory = temporary_bytes(one.observed) - temporary_bytes(one.plain)
        row = [
            one.name,
            f"{1e3 * step:.2f}",
            f"{1e3 * measurement:.2f}",
            f"{measurement / step:.1f}",
            f"{one.told:.1f}",
            f"{memory / MEBIBYTE:.1f}",
        ]
        what = f"{one.name}: steps that a measurement takes / that --dry-run says"
        yield row, Goal(what, "cpu", measurement / step / one.told, 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps: only whether it works")
    rows, found = zip(*races(SMOKE if parser.parse_args().smoke else FULL), strict=True)
    head = ["phenomenon", "step, CPU ms", "measurement, CPU ms", "in steps", "as told", "memory, MiB"]
    print_table(head, rows)
    print()
    print_goals(found)


if __name__ == "__main__":
    main()
