"""Expectations of a run or a sweep: each bound of `expect:` against the number in the summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nnlab.config import Config
from nnlab.config.experiment_keys import REASON, Bound
from nnlab.errors import RunStatus
from nnlab.runs.html import html_table
from nnlab.storage.results import JsonObject
from nnlab.text import short_value

if TYPE_CHECKING:
    from nnlab.runs.results import Sweep

EVERY_TRIAL = " (every trial)"  # after the key of a number that each trial of a sweep has
FINISHED = (RunStatus.COMPLETE, RunStatus.DIVERGED)  # statuses of a run that came to its end

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
    `nnlab check` exits with 0. Where nothing is expected, it is true of a complete run alone: one that
    diverges must expect to.

    Attributes:
        status: That of the run or the sweep.
        reasons: By key, why a number has no value, where that is known.
    """

    status: RunStatus
    reasons: Mapping[str, str]

    def __new__(
        cls, verdicts: Iterable[Verdict], status: RunStatus, reasons: Mapping[str, str] = MappingProxyType({})
    ) -> Verdicts:
        self = super().__new__(cls, verdicts)
        self.status, self.reasons = status, reasons
        return self

    def __getnewargs__(self) -> tuple[tuple[Verdict, ...], RunStatus, dict[str, str]]:
        return tuple(self), self.status, dict(self.reasons)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.status in FINISHED

    @property
    def pending(self) -> bool:
        """Whether the numbers may still change: the run is under way, or was interrupted."""
        return self.status in (RunStatus.RUNNING, RunStatus.INTERRUPTED)

    def __bool__(self) -> bool:
        if not len(self):
            return self.status is RunStatus.COMPLETE
        return self.finished and all(verdict.holds for verdict in self)

    def __repr__(self) -> str:
        lines = [f"{key} {bound}: {found}, {word}" for key, bound, found, word in self.rows()]
        lines += [] if self.finished else ["not finished"]
        return "\n".join(lines or ["no expectations"])

    def _repr_html_(self) -> str:
        return html_table(("expects", "bound", "found", "verdict"), self.rows())

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The cells of a table: key, bound, what was found, and the verdict in words."""
        return [(v.key, v.bound, short_value(v.value), self._in_words(v)) for v in self]

    def _in_words(self, verdict: Verdict) -> str:
        """`holds`, `FAILS` and why, or `not yet` of a run whose numbers may change."""
        if self.pending:
            return "not yet"
        if verdict.holds:
            return "holds"
        reason = self.reasons.get(verdict.key)
        return f"FAILS: {reason}" if reason else "FAILS"


def run_verdicts(config: Config, summary: JsonObject) -> list[Verdict]:
    """The verdict on each expectation of a run."""
    return [_verdict(key, bound, _value(summary, key)) for key, bound in config.build().expect.items()]


def run_reasons(config: Config, summary: JsonObject) -> dict[str, str]:
    """Why numbers that a run is expected to have are null, by key, where its summary says so."""
    keys = [key for key in config.build().expect if _is_missing(_value(summary, key))]
    reasons = {key: _value(summary, f"{key.partition('.')[0]}.{REASON}") for key in keys}
    return {key: str(reason) for key, reason in reasons.items() if reason}


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
            verdicts.append(_verdict(key + EVERY_TRIAL, bound, _worst(values, bound)))
    return verdicts


def sweep_reasons(sweep: Sweep) -> dict[str, str]:
    """`run_reasons` of a sweep; of a number of its trials, why the first one without it has none."""
    reasons = run_reasons(sweep.config, sweep.summary)
    for key in sweep.config.build().expect:
        column = f"{key.partition('.')[0]}.{REASON}"
        if key in sweep.trials and column in sweep.trials:
            known = sweep.trials.loc[sweep.trials[key].isna(), column].dropna()
            if len(known):
                reasons[key + EVERY_TRIAL] = str(known.iloc[0])
    return reasons


def _verdict(key: str, bound: Bound, value: Value) -> Verdict:
    return Verdict(key, str(bound), value, bound.holds(value))


def _is_missing(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


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
