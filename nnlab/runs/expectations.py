"""Expectations of a run or a sweep: each bound of `expect:` against the number in the summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from nnlab.config import Config
from nnlab.config.experiment_keys import Bound
from nnlab.runs.html import html_table
from nnlab.storage.results import JsonObject
from nnlab.text import short_value

if TYPE_CHECKING:
    from nnlab.runs.results import Sweep

Value = bool | int | float | str | None
"""A value of a summary; None where it is missing."""


class Verdict(NamedTuple):
    """Whether one expectation holds.

    Attributes:
        key: The number that is bound, as `expect:` names it: `grokking.delay_ratio`.
        bound: The bound in words: `>= 10`.
        value: The value of the number; None where there is none.
        holds: Whether the value is within the bound.
    """

    key: str
    bound: str
    value: Value
    holds: bool


class Verdicts(tuple[Verdict, ...]):
    """The verdicts on all expectations of a run or a sweep, in the order of the file.

    It is true where the run is finished (complete or diverged) and every expectation holds, as the command
    `nnlab check` exits with 0.

    Attributes:
        finished: Whether the run has come to its end.
    """

    finished: bool

    def __new__(cls, verdicts: Iterable[Verdict], finished: bool) -> Verdicts:
        self = super().__new__(cls, verdicts)
        self.finished = finished
        return self

    def __getnewargs__(self) -> tuple[tuple[Verdict, ...], bool]:
        return tuple(self), self.finished

    def __bool__(self) -> bool:
        return self.finished and all(verdict.holds for verdict in self)

    def __repr__(self) -> str:
        lines = [
            f"{verdict.key} {verdict.bound}: {short_value(verdict.value)}, {holds_text(verdict)}"
            for verdict in self
        ]
        lines += [] if self.finished else ["not finished"]
        return "\n".join(lines or ["no expectations"])

    def _repr_html_(self) -> str:
        rows = [(v.key, v.bound, short_value(v.value), holds_text(v)) for v in self]
        return html_table(("expects", "bound", "found", "verdict"), rows)


def holds_text(verdict: Verdict) -> str:
    """The verdict in one word."""
    return "holds" if verdict.holds else "FAILS"


def run_verdicts(config: Config, summary: JsonObject) -> list[Verdict]:
    """The verdict on each expectation of a run."""
    return [_verdict(key, bound, _value(summary, key)) for key, bound in config.build().expect.items()]


def sweep_verdicts(sweep: Sweep) -> list[Verdict]:
    """The verdict on each expectation of a sweep.

    A phenomenon across the sweep has one number, and so has a search's best trial. A number of a run must
    hold in every trial that was not pruned, and its value is that of the trial furthest off.
    """
    parts = sweep.config.build()
    across = {phenomenon.name for phenomenon in parts.sweep_phenomena}
    if parts.sweep is not None and parts.sweep.method is not None:
        across.add("best")
    trials = sweep.trials[sweep.trials["status"] != "pruned"]
    verdicts = []
    for key, bound in parts.expect.items():
        if key.partition(".")[0] in across or key == "status":
            verdicts.append(_verdict(key, bound, _value(sweep.summary, key)))
        else:
            values = (trials[key].tolist() if key in trials else []) or [None]
            verdicts.append(_verdict(f"{key} (every trial)", bound, _worst(values, bound)))
    return verdicts


def _verdict(key: str, bound: Bound, value: Value) -> Verdict:
    return Verdict(key, str(bound), value, bound.holds(value))


def _value(summary: JsonObject, key: str) -> Value:
    prefix, _, number = key.partition(".")
    value = summary.get(prefix)
    if number:
        value = value.get(number) if isinstance(value, Mapping) else None
    return value


def _worst(values: Sequence[Value], bound: Bound) -> Value:
    """The value that breaks the bound by most, or else comes nearest to breaking it."""
    candidates = [value for value in values if not bound.holds(value)] or values
    numbers = [v for v in candidates if isinstance(v, (int, float)) and not math.isnan(v)]
    if bound.equals is not None or len(numbers) < len(candidates):
        return next((value for value in candidates if value not in numbers), candidates[0])
    if bound.min is None or (bound.max is not None and max(numbers) > bound.max):
        return max(numbers)
    return min(numbers)
