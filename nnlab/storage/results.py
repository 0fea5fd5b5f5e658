"""What a run or a sweep came to, as JSON: summary.json and environment.json, written and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnlab.errors import RunStatus, UsageError
from nnlab.system import files

JsonObject = dict[str, Any]
"""A JSON object, read: texts, numbers, truth values, None, and lists and objects of them, by name."""

MAXIMUM_JSON_BYTES = 2**20  # what nnlab writes itself comes to a few thousand
MAXIMUM_SUMMARY_VALUES = 5_000
MAXIMUM_INTEGER_DIGITS = 18  # more would not fit 64 bits


def read_summary(directory: Path) -> JsonObject:
    """Read the summary.json of a run or a sweep: texts, numbers, and texts and numbers by name.

    Raises:
        UsageError: The file is missing, or not of that form.
    """
    file = directory / "summary.json"
    summary = read_json(file)
    if summary.get("status") not in list(RunStatus):
        raise UsageError(f"{file}: damaged: its status is none of {', '.join(RunStatus)}")
    is_sweep = "trials" in summary  # a search's best names a trial and its values, of any form
    count = len(summary)
    for part, values in summary.items():
        inner = values.values() if isinstance(values, dict) else ()
        count += len(inner)
        if isinstance(values, list) or (
            any(isinstance(value, (list, dict)) for value in inner) and not (is_sweep and part == "best")
        ):
            raise UsageError(f"{file}: damaged: {part[:80]!r} holds no numbers by name")
    for part in ("final",) if is_sweep else ("final", "best"):
        numbers = summary.get(part, {})
        if not isinstance(numbers, dict) or any(isinstance(number, str) for number in numbers.values()):
            raise UsageError(f"{file}: damaged: '{part}' holds no numbers by name")
    if count > MAXIMUM_SUMMARY_VALUES:
        raise UsageError(f"{file}: damaged: holds more than {MAXIMUM_SUMMARY_VALUES:,} values")
    return summary


def read_json(path: Path) -> JsonObject:
    """Read a JSON object from a file. Raises UsageError, naming the file."""
    try:
        if path.stat().st_size > MAXIMUM_JSON_BYTES:
            raise ValueError(f"is larger than {MAXIMUM_JSON_BYTES // 2**20} MiB")
        content = json.loads(files.read_regular_file(path).decode(), parse_int=_integer)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; is '{path.parent}' a run directory?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: damaged: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: damaged: holds no JSON object")
    return content


def json_text(content: Mapping[str, object]) -> str:
    """An object as the text of a JSON file. NumPy's numbers are written as plain ones, float32 by its
    shortest text, infinities and NaN as null."""
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def _integer(digits: str) -> int:
    if len(digits) > MAXIMUM_INTEGER_DIGITS:
        raise ValueError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(str(value)) if math.isfinite(value) else None
    return value
