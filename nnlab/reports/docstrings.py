"""What docstrings say of keys and numbers: the entries of a Google-style section, by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


@functools.cache
def entries_of(docstring: str, section: str) -> Mapping[str, str]:
    """The entries of one section, such as `Args` or `Attributes`, each as one line.

    Args:
        docstring: The docstring, its indentation removed.
        section: The section's name.

    Returns:
        Name -> text; empty where there is no such section.
    """
    lines = docstring.split("\n")
    if f"{section}:" not in lines:
        return {}
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index(f"{section}:") + 1 :]:
        if line and not line.startswith(" "):
            break
        match = _ENTRY.fullmatch(line[4:])
        if match and not line.startswith("     "):
            names = match[1].split(", ")
            entries |= dict.fromkeys(names, match[2])
        elif line.strip():
            entries |= {name: f"{entries[name]} {line.strip()}" for name in names}
    return entries
