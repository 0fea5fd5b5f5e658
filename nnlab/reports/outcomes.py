"""What came out, as rows of words: expectations with their margins, and the numbers of each detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from nnlab.config.experiment_keys import REASON, Bound
from nnlab.registry import Built, components
from nnlab.registry.docstrings import section_texts
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
        values: What was found in each run or sweep.
        meaning: What it says, out of the detector's documentation.
    """

    name: str
    values: list[str]
    meaning: str


class Detector(NamedTuple):
    """What one phenomenon came to, in all runs or sweeps that it was looked for in.

    Attributes:
        title: The phenomenon in words.
        question: What it looks for, the first sentence of its documentation.
        labels: The runs or sweeps.
        reasons: Why some of its numbers are null, for each of these; empty where none is.
        numbers: Its numbers.
    """

    title: str
    question: str
    labels: list[str]
    reasons: list[str]
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


def detectors_of(results: Mapping[str, Run | Sweep]) -> list[Detector]:
    """The phenomena of runs, and those across sweeps, that have been measured.

    Args:
        results: Runs and sweeps by their labels.
    """
    measured: dict[str, dict[str, Built]] = {}
    for label, result in results.items():
        parts = result.config.build()
        for phenomenon in parts.run_phenomena if isinstance(result, Run) else parts.sweep_phenomena:
            if isinstance(result.summary.get(phenomenon.name), Mapping):
                measured.setdefault(phenomenon.name, {})[label] = phenomenon
    return [
        _detector(phenomena, {label: results[label] for label in phenomena})
        for phenomena in measured.values()
    ]


def _detector(phenomena: Mapping[str, Built], results: Mapping[str, Run | Sweep]) -> Detector:
    """One phenomenon, as each of the results has it."""
    first = next(iter(phenomena.values()))
    found = {label: result.summary[first.name] for label, result in results.items()}
    meanings = section_texts(first.result.__doc__ or "", "Attributes")
    numbers = [
        Number(
            name,
            [
                short_value(found[label].get(name)) + _class_name(result, phenomena[label], name)
                for label, result in results.items()
            ],
            meanings.get(name, ""),
        )
        for name in first.fields
    ]
    reasons = [found[label].get(REASON) for label in results]
    return Detector(
        name_in_words(first.name),
        components("phenomenon")[first.name].headline,
        list(results),
        [reason if isinstance(reason, str) else "" for reason in reasons],
        numbers,
    )


def _class_name(result: Run | Sweep, phenomenon: Built, number: str) -> str:
    """Behind the number of a class, its name in brackets; empty for other numbers."""
    names = result.summary.get("class_names")
    if not isinstance(result, Run) or number not in phenomenon.class_fields or not isinstance(names, Mapping):
        return ""
    name = names.get(short_value(result.summary[phenomenon.name].get(number)))
    return f" ({name})" if name is not None else ""
