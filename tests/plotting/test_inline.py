"""Figures inside of a page that allows no style but its own."""

from xml.etree import ElementTree

import numpy as np

from nnlab import plotting


def drawn(prefix, text="$a^2$ <b>"):
    with plotting.style():
        figure, axes = plotting.panels(1, 2)
        axes[0][0].plot([0, 1, 2], [1, 3, 2], "--", label=text)
        axes[0][0].set_title(text)
        axes[0][1].imshow(np.eye(3), interpolation="nearest")
        return plotting.inline_svg(figure, prefix, 'a "title"')


def test_it_holds_no_style_and_nothing_from_elsewhere():
    root = ElementTree.fromstring(drawn("x-"))
    for element in root.iter():
        assert element.tag not in ("style", "metadata")
        assert "style" not in element.attrib
        assert element.get("href", "#").startswith(("#", "data:image/png;base64,"))
    assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", 'a "title"')
    assert root.get("viewBox")


def test_what_style_attributes_said_is_said_by_attributes():
    paths = [
        path for path in ElementTree.fromstring(drawn("x-")).iter("path") if path.get("stroke-dasharray")
    ]
    assert {path.get("stroke") for path in paths} == {plotting.COLOURS[0].lower()}
    assert {path.get("fill") for path in paths} == {"none"}


def test_ids_begin_with_the_prefix_and_what_is_referred_to_is_there():
    root = ElementTree.fromstring(drawn("x-"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert ids
    assert all(name.startswith("x-") for name in ids)
    assert len(set(ids)) == len(ids)
    for element in root.iter():
        for value in element.attrib.values():
            if value.startswith("url(#"):
                assert value[5:-1] in ids
        if element.get("href", "").startswith("#"):
            assert element.get("href")[1:] in ids


def test_the_same_figure_is_the_same_text():
    assert drawn("x-") == drawn("x-")
