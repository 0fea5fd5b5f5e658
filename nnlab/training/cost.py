"""What a training computes, in floating-point operations, estimated from shapes."""

from __future__ import annotations

import math
from typing import NamedTuple

from nnlab.nn.model import Model
from nnlab.phenomena.base import RunPhenomenon
from nnlab.phenomena.probe import GRADIENT_PASSES, Probe
from nnlab.training.experiment import Experiment, TrainedExperiment


class ProbeCost(NamedTuple):
    """What looking for a phenomenon adds to a training.

    Attributes:
        phenomenon: Its name.
        measurements: How many its most frequent probe makes.
        flops: Of all its probes over the whole training.
    """

    phenomenon: str
    measurements: int
    flops: float


def forward_flops(model: Model) -> float:
    """Floating-point operations of an example's forward pass, about: two for each weight of a kernel and
    each place that the kernel is applied to."""
    return sum(
        2.0 * leaf.params["kernel"].size * math.prod(leaf.output_shape[:-1])
        for _, leaf in model.setup.leaves()
        if "kernel" in leaf.params
    )


def step_flops(experiment: Experiment) -> float:
    """Floating-point operations of a step, about: of one gradient, or two where it steps by another one's."""
    optimizer = experiment.plan.optimizer
    gradients = 2 if optimizer and optimizer.ascent is not None else 1
    return gradients * GRADIENT_PASSES * forward_flops(experiment.model) * experiment.batch_size


def training_flops(experiment: Experiment) -> float:
    """Those of a whole training, about: its steps, the evaluations of all splits, and the probes."""
    examples = sum(len(part) for part in experiment.data.splits.values())
    evaluations = forward_flops(experiment.model) * examples * experiment.record_count
    probes = sum(cost.flops for cost in probe_costs(experiment))
    return step_flops(experiment) * experiment.total_steps + evaluations + probes


def probe_costs(experiment: Experiment) -> list[ProbeCost]:
    """What each phenomenon adds to a training, but for those that see only what a step computes anyway."""
    if not isinstance(experiment, TrainedExperiment):
        return []
    costs = [_probe_cost(experiment, phenomenon) for phenomenon in experiment.plan.run_phenomena]
    return [cost for cost in costs if cost.flops]


def _probe_cost(experiment: TrainedExperiment, phenomenon: RunPhenomenon) -> ProbeCost:
    passes = [
        (_measurements(experiment, probe), probe.passes(experiment.data))
        for probe in phenomenon.probes
        if probe.passes is not None
    ]
    total = sum(count * each for count, each in passes)
    return ProbeCost(
        phenomenon.name,
        max((count for count, _ in passes), default=0),
        total * forward_flops(experiment.model),
    )


def _measurements(experiment: TrainedExperiment, probe: Probe) -> int:
    """How many times a probe measures in a training that is not stopped early."""
    return len(probe.measured(experiment.record_count)) if probe.record_at == "every_record" else 1
