"""Do a run's or a sweep's expectations hold?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nnlab.config import Config
from nnlab.config.experiment_keys import Bound
from nnlab.runs.results import Run, SweepResult

Verdict = tuple[str, str, Any, bool]
"""Number, bound, found, whether it holds."""


def judge(config: Config, summary: Mapping[str, Any]) -> list[Verdict]:
    """Each expectation of a run."""
    verdicts = []
    for key, bound in config.build().expect.items():
        found = _number(summary, key)
        verdicts.append((key, str(bound), found, bound.holds(found)))
    return verdicts


def judge_sweep(result: SweepResult) -> list[Verdict]:
    """Each expectation of a sweep. What is seen across the sweep has one number, and so has a search's best
    trial; a run's number must hold in every trial but the pruned ones, and the one furthest off is what was
    found."""
    parts = result.config.build()
    across = {phenomenon.name for phenomenon in parts.sweep_phenomena}
    if parts.sweep is not None and parts.sweep.method is not None:
        across.add("best")
    whole = result.table[result.table["status"] != "pruned"]
    verdicts = []
    for key, bound in parts.expect.items():
        if key.partition(".")[0] in across or key == "status":
            found = _number(result.summary, key)
            verdicts.append((key, str(bound), found, bound.holds(found)))
        else:
            values = (whole[key].tolist() if key in whole else []) or [None]
            worst = _worst(values, bound)
            verdicts.append((f"{key} (every trial)", str(bound), worst, bound.holds(worst)))
    return verdicts


def judge_any(result: Run | SweepResult) -> list[Verdict]:
    """Each expectation of a run or a sweep."""
    return judge(result.config, result.summary) if isinstance(result, Run) else judge_sweep(result)


def _number(summary: Mapping[str, Any], key: str) -> Any:
    prefix, _, number = key.partition(".")
    found = summary.get(prefix)
    if number:
        found = found.get(number) if isinstance(found, Mapping) else None
    return found


def _worst(values: list[Any], bound: Bound) -> Any:
    """The value that breaks the bound by most, or else comes nearest to breaking it."""
    broken = [value for value in values if not bound.holds(value)]
    numbers = [v for v in broken or values if isinstance(v, (int, float)) and not math.isnan(v)]
    if bound.equals is not None or len(numbers) < len(broken or values):
        return next((value for value in broken or values if value not in numbers), (broken or values)[0])
    if bound.min is None or (bound.max is not None and max(numbers) > bound.max):
        return max(numbers)
    return min(numbers)
