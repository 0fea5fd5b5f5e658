"""The page of a report: HTML in which everything that comes from a run is text, and nothing is fetched."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup, escape

from nnlab import __version__
from nnlab.reports.contents import Contents
from nnlab.reports.curves import Bundle, Curves
from nnlab.system import files

STATIC = resources.files("nnlab.reports") / "static"
GENERATOR = '<meta name="generator" content="nnlab '  # by which a page is known as one
HEAD_BYTES = 4096  # that hold it
ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # in JSON, lest it end the script that holds it


class Assets(NamedTuple):
    """What a page is made of beside its contents.

    Attributes:
        style: Its style sheets, one after the other.
        plot_script: uPlot, with its licence, which goes wherever it does.
        script: What the page does.
    """

    style: str
    plot_script: str
    script: str

    @property
    def policy(self) -> str:
        """A Content-Security-Policy that allows these, images inside of the page, and nothing else."""
        scripts = " ".join(map(_hash, (self.plot_script, self.script)))
        return (
            f"default-src 'none'; script-src {scripts}; style-src {_hash(self.style)}; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )


def render(contents: Contents, live: bool = False) -> str:
    """The page as HTML, complete in itself.

    Args:
        contents: What it shows.
        live: Whether it asks where it comes from for what has changed since.
    """
    assets = _assets()
    return _template().render(
        contents=contents,
        data=DataWriter().text(contents),
        policy=assets.policy + ("; connect-src 'self'" if live else ""),
        version=__version__,
        live=live,
        **assets._asdict(),
    )


def is_page(file: Path) -> bool:
    """Whether a regular file is a page that was made here. Raises DiskError where it cannot be read."""
    with files.disk_errors(file), file.open("rb") as content:
        return GENERATOR.encode() in content.read(HEAD_BYTES)


class DataWriter:
    """Writes the numbers of curves and layers as JSON; curves that it wrote before are not written anew."""

    def __init__(self) -> None:
        self._bundles: dict[int, tuple[Bundle, str]] = {}

    def text(self, contents: Contents) -> str:
        """JSON that may stand inside of a script element."""
        groups = {"runs": contents.curves} if contents.curves is not None else {}
        for number, part in enumerate(contents.parts):
            if part.sweep is not None and part.sweep.curves is not None:
                groups[f"sweep-{number}"] = part.sweep.curves
        earlier, self._bundles = self._bundles, {}
        texts = [f"{_json(name)}:{self._curves(curves, earlier)}" for name, curves in groups.items()]
        return f'{{"groups":{{{",".join(texts)}}},"layers":{_json(contents.layers)}}}'

    def _curves(self, curves: Curves, earlier: Mapping[int, tuple[Bundle, str]]) -> str:
        charts = []
        for chart in curves.charts:
            bundles = ",".join(self._bundle(bundle, earlier) for bundle in chart.bundles)
            charts.append(f"{_json(chart._replace(bundles=[]))[: -len('[]}')]}[{bundles}]}}")
        return f'{_json(curves._replace(charts=[]))[:-1]},"charts":[{",".join(charts)}]}}'

    def _bundle(self, bundle: Bundle, earlier: Mapping[int, tuple[Bundle, str]]) -> str:
        if id(bundle) not in earlier:
            self._bundles[id(bundle)] = bundle, _json(bundle)
        else:
            self._bundles[id(bundle)] = earlier[id(bundle)]
        return self._bundles[id(bundle)][1]


def _json(value: object) -> str:
    text = json.dumps(_plain(value), separators=(",", ":"))
    for character, escaped in ESCAPED.items():
        text = text.replace(character, escaped)
    return text


def _plain(value: object) -> object:
    """Named tuples as mappings, and what they hold."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], (int, float)):
        return [_plain(inner) for inner in value]
    return value


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": _number, "prose": _prose, "name": _name}
    return environment.from_string(_text("page.html"))


@functools.cache
def _assets() -> Assets:
    style = _text("uPlot-1.6.32.min.css") + _text("page.css")
    plot_script = f"/*\n{_text('uPlot-1.6.32.LICENSE')}\n*/\n{_text('uPlot-1.6.32.iife.min.js')}"
    return Assets(style, plot_script, _text("page.js"))


def _number(value: float | None) -> str:
    """A number of a table, as summaries have it."""
    return "-" if value is None else f"{value:.4g}"


def _prose(text: str) -> Markup:
    """Text of a docstring, what stands between backquotes as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part)
        for n, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _name(path: str) -> Markup:
    """A name of keys or columns, which may be broken after a dot or an underscore."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", path))


def _text(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What a Content-Security-Policy allows an element of this content by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
