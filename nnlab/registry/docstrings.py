"""Docstrings, read: their first sentence, and what Google's sections say of each argument or attribute."""

from __future__ import annotations

import inspect
import keyword
import re
import textwrap

_ENTRY = re.compile(r"(\w+)(?: \([^)]*\))?: *(.*)")


def first_sentence(document: str) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join(document.split("\n\n", 1)[0].split())
    first = re.split(r"(?<=[.?])(?<!et al\.)(?<!\.\.) ", paragraph, maxsplit=1)[0]
    return first if not first or first.endswith((".", "?")) else f"{first}."


def argument_texts(document: str) -> dict[str, str]:
    """What the section `Args:` of a docstring says of each argument, by its key in the file."""
    return section_texts(document, "Args")


def section_texts(document: str, section: str) -> dict[str, str]:
    """What a section of a docstring, such as `Args` or `Attributes`, says of each name in it."""
    lines = inspect.cleandoc(document).splitlines()
    if f"{section}:" not in lines:
        return {}
    texts: dict[str, list[str]] = {}
    below = lines[lines.index(f"{section}:") + 1 :]
    end = next((i for i, line in enumerate(below) if line and not line.startswith(" ")), len(below))
    for line in textwrap.dedent("\n".join(below[:end])).splitlines():
        entry = None if line.startswith(" ") else _ENTRY.fullmatch(line)
        if entry is not None:
            name = entry[1]
            key = name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name
            texts[key] = [entry[2]]
        elif line and texts:
            texts[key].append(line.strip())
    return {key: " ".join(words) for key, words in texts.items()}
