"""The Markdown pages that people read, and what is in them: links, headings, blocks of code."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "plugin" / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if GENERATED not in page.parents),
]
MARK = re.compile(r"<!-- check: (.*) -->")


class Block(NamedTuple):
    """A block of code.

    Attributes:
        line: The line of the page at which it opens.
        language: What it is written in; empty where it is not said.
        text: Its lines.
        marks: What the comment `<!-- check: ... -->` before it says, word -> rest; see `test_blocks`.
    """

    line: int
    language: str
    text: str
    marks: dict[str, str]


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return str(page.relative_to(ROOT))


def tokens(page: Path) -> list[Token]:
    """A page as its parser sees it."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, in their order; what Sphinx is told, in braces, is none."""
    found, marks = [], {}
    for token in tokens(page):
        if token.type == "html_block" and (mark := MARK.search(token.content)):
            marks = dict(_mark(words) for words in mark[1].split("; "))
        elif token.type == "fence":
            if not token.info.startswith("{"):
                found.append(Block(token.map[0] + 1, token.info.strip(), token.content, marks))
            marks = {}
    return found


def _mark(words: str) -> tuple[str, str]:
    """`file mine.py` -> file, mine.py; `no-run, it takes a cluster` -> no-run, it takes a cluster."""
    word, rest = re.fullmatch(r"([\w-]+)[ ,]*(.*)", words).groups()
    return word, rest


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and images."""
    for token in tokens(page):
        for child in token.children or ():
            if child.type == "link_open":
                yield str(child.attrs["href"])
            elif child.type == "image":
                yield str(child.attrs["src"])


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and Sphinx make them."""
    lines = tokens(page)
    headings = [lines[i + 1].content for i, token in enumerate(lines) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
