"""What came out, as rows of words: expectations with their margins, and the numbers of each detector."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import NamedTuple

from nnlab.config.experiment_keys import REASON, Bound
from nnlab.registry import Built, components
from nnlab.reports.docstrings import entries_of
from nnlab.runs.expectations import EVERY_TRIAL, Value, Verdicts
from nnlab.runs.results import Run, Sweep
from nnlab.text import name_in_words, short_value


class Outcome(NamedTuple):
    """One expectation, judged.

    Attributes:
        key: The number that is bound.
        bound: The bound in words.
        found: What was found.
        margin: How far the number lies within its bound, signed; empty where that is no number.
        holds: Whether it holds; None where the numbers may still change.
        reason: Why the number is null, where that is known.
    """

    key: str
    bound: str
    found: str
    margin: str
    holds: bool | None
    reason: str


class Number(NamedTuple):
    """One number of a detector.

    Attributes:
        name: Its name, as `expect:` has it.
        value: What was found.
        meaning: What it says, out of the detector's documentation.
    """

    name: str
    value: str
    meaning: str


class Detector(NamedTuple):
    """What one phenomenon came to.

    Attributes:
        title: The phenomenon in words.
        question: What it looks for, the first sentence of its documentation.
        reason: Why some of its numbers are null; empty where none is.
        numbers: Its numbers.
    """

    title: str
    question: str
    reason: str
    numbers: list[Number]


def outcomes_of(result: Run | Sweep, verdicts: Verdicts) -> list[Outcome]:
    """The expectations of a run or a sweep, in the order of the file."""
    bounds = result.config.build().expect
    return [
        Outcome(
            verdict.key,
            verdict.bound,
            short_value(verdict.value),
            margin_in_words(bounds[verdict.key.removesuffix(EVERY_TRIAL)], verdict.value),
            None if verdicts.pending else verdict.holds,
            str(verdicts.reasons.get(verdict.key, "")),
        )
        for verdict in verdicts
    ]


def margin_in_words(bound: Bound, value: Value) -> str:
    """How far a number lies within its bound: `+0.031`, or `-2` where it is outside."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    margins = [] if bound.min is None else [value - bound.min]
    margins += [] if bound.max is None else [bound.max - value]
    return f"{min(margins):+.3g}" if margins else ""


def detectors_of(result: Run | Sweep) -> list[Detector]:
    """The phenomena of a run, or those across a sweep, that have been measured."""
    parts = result.config.build()
    phenomena = parts.run_phenomena if isinstance(result, Run) else parts.sweep_phenomena
    detectors = []
    for phenomenon in phenomena:
        values = result.summary.get(phenomenon.name)
        if not isinstance(values, Mapping):
            continue
        component = components("phenomenon")[phenomenon.name]
        meanings = entries_of(inspect.getdoc(phenomenon.result) or "", "Attributes")
        numbers = [
            Number(
                name,
                short_value(values[name]) + _class_name(result, phenomenon, name),
                meanings.get(name, ""),
            )
            for name in phenomenon.fields
            if name in values
        ]
        reason = values.get(REASON)
        detectors.append(
            Detector(
                name_in_words(phenomenon.name),
                component.headline,
                reason if isinstance(reason, str) else "",
                numbers,
            )
        )
    return detectors


def _class_name(result: Run | Sweep, phenomenon: Built, number: str) -> str:
    """Behind the number of a class, its name in brackets; empty for other numbers."""
    names = result.summary.get("class_names")
    if not isinstance(result, Run) or number not in phenomenon.class_fields or not isinstance(names, Mapping):
        return ""
    name = names.get(short_value(result.summary[phenomenon.name][number]))
    return f" ({name})" if name is not None else ""
