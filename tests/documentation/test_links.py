"""Each link and image of README and docs leads somewhere, and each experiment that they name is shipped."""

import re
import sys

import pytest

from documentation.markdown import GENERATED, PAGES, ROOT, anchors, links, name_of, tokens
from nnlab.registry import KINDS, components

sys.path.insert(0, str(ROOT / "docs" / "extension"))
EXPERIMENTS = {path.stem for path in (ROOT / "experiments").glob("*.yaml")}


@pytest.fixture(scope="module")
def generated():
    """The pages that are there once Sphinx has run."""
    import nnlab_reference

    return {GENERATED / name for name in nnlab_reference.pages()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page, generated):
    for link in links(page):
        if not link.startswith(("https://", "http://")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists() or target in generated, f"{name_of(page)}: {link}"
            assert not anchor or anchor in anchors(target), f"{name_of(page)}: no heading {link}"


def words_in_code(page):
    """The single words that stand in backticks."""
    children = [child for token in tokens(page) for child in token.children or ()]
    return {c.content for c in children if c.type == "code_inline" and re.fullmatch(r"[a-z]\w+", c.content)}


def test_every_experiment_is_in_the_table():
    assert words_in_code(ROOT / "docs" / "experiments.md") == EXPERIMENTS


@pytest.mark.parametrize("name", ["lectures", "gallery"])
def test_experiments_that_are_named_are_shipped(name):
    """What is no component, key or figure must be an experiment."""
    known = {entry for kind in KINDS for entry in components(kind)}
    known |= {"batch_size", "depth_profile", "stop"}
    assert words_in_code(ROOT / "docs" / f"{name}.md") - EXPERIMENTS <= known


def test_the_readme_has_at_most_800_words():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 800
