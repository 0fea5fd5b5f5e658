"""HTML for notebooks. All text in it is escaped: a directory from elsewhere may hold anything."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; empty without rows."""
    if not rows:
        return ""
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def html_heading(*parts: str) -> str:
    """A line above tables: the first part in bold, the others after it."""
    first, *others = map(escape, parts)
    return f"<p>{', '.join([f'<b>{first}</b>', *others])}</p>"


def _row(cell: str, texts: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(text)}</{cell}>' for text in texts)}</tr>"
