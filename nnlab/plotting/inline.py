"""Figures as SVG that lies inside of a page of HTML, whatever else the page holds and forbids."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEFT_OUT = ("metadata", "style")
INHERITED = {"stroke-linejoin": "round", "stroke-linecap": "butt"}  # what the style element says of all


def inline_svg(figure: Figure, prefix: str, title: str) -> str:
    """A figure as an SVG element for a page that allows no style but its own.

    It has no style elements and attributes: what they say is said by attributes of SVG. Its text is drawn, so
    that it looks the same everywhere, and a page that scales its width scales its height.

    Args:
        figure: The figure, drawn in the style inside of which this is called.
        prefix: What the ids begin with; another one for each figure of a page.
        title: What is read aloud in its place.
    """
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(content.getvalue())  # noqa: S314 - it was written just now
    for element in root.iter():
        _plain(element, prefix)
    for attribute in ("version", "height"):
        root.attrib.pop(attribute, None)
    width = root.attrib["viewBox"].split()[2]  # in points, of which a page makes pixels
    for attribute, value in {**INHERITED, "width": width, "role": "img", "aria-label": title}.items():
        root.set(attribute, value)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(element: ElementTree.Element, prefix: str) -> None:
    """Take the namespaces, styles and metadata off an element, and make its ids those of this figure."""
    element.tag = _local(element.tag)
    element.tail = None
    for child in list(element):
        if _local(child.tag) in LEFT_OUT:
            element.remove(child)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    attributes |= dict(_declarations(attributes.pop("style", "")))
    for name, value in attributes.items():
        if name == "id":
            attributes[name] = f"{prefix}{value}"
        elif name == "href" and value.startswith("#"):
            attributes[name] = f"#{prefix}{value[1:]}"
        elif value.startswith("url(#"):
            attributes[name] = f"url(#{prefix}{value.removeprefix('url(#')}"
    element.attrib.clear()
    element.attrib.update(attributes)


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    """The declarations of a style attribute; of one that is given twice, the last is what counts."""
    for declaration in style.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
