"""What probes see of how a step is taken."""

from __future__ import annotations

from nnlab.optim.parameter_groups import layer_of
from nnlab.phenomena.probe import StabilityBound, StepView
from nnlab.system.imports import jax, jnp
from nnlab.training.state import State
from nnlab.training.train_step import StepTrace, TrainStep, merge_frozen


def step_view(train_step: TrainStep, state: State, trace: StepTrace) -> StepView:
    """What a step minimizes, and up to which curvature it is stable."""
    return StepView(
        objective=lambda params, examples: train_step.objective(state, examples)(params)[0],
        stability=lambda: _stability(train_step, state, trace),
    )


def _stability(train_step: TrainStep, state: State, trace: StepTrace) -> StabilityBound:
    """Up to which curvature a step is stable. A layer of its own rate, or none, has a part of the
    preconditioner that makes up for it."""
    optimizer, schedules, time = train_step.optimizer, state.monitors.schedules, train_step.time(state)
    stability = optimizer.stability
    rate = optimizer.learning_rate.rate(schedules[0], time)
    threshold = jnp.full((), jnp.nan) if stability is None else stability.threshold(rate, trace.slope)
    preconditioner = None if stability is None else stability.preconditioner
    if preconditioner is None and not optimizer.groups:
        return StabilityBound(threshold, None)
    rate_of = optimizer.rates(schedules, time)
    ones = jax.tree.map(jnp.ones_like, optimizer.trained(state.params))
    scales = ones if preconditioner is None else preconditioner(train_step.direction(state, trace)[1])
    if optimizer.groups:
        scales = jax.tree_util.tree_map_with_path(
            lambda path, scale: scale * (rate / rate_of(layer_of(path))), scales
        )
    endless = jax.tree.map(lambda array: jnp.full_like(array, jnp.inf), state.params)
    return StabilityBound(threshold, merge_frozen(scales, endless))
