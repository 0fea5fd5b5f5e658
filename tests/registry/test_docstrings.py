"""Docstrings, read."""

import inspect

import pytest

from nnlab.registry.docstrings import argument_texts, first_sentence, section_texts

DOCUMENT = """y = W x + b.

    Args:
        units: How many,
            over two lines.
        from_: A word of Python's own.

        rate (float): With a type: a number.
        not an argument

    Reference:
        rate: none.
    """


def test_each_argument_has_its_text():
    assert argument_texts(DOCUMENT) == {
        "units": "How many, over two lines.",
        "from": "A word of Python's own.",
        "rate": "With a type: a number. not an argument",
    }
    assert argument_texts(inspect.cleandoc(DOCUMENT)) == argument_texts(DOCUMENT)


def test_other_sections_have_their_texts_too():
    document = "A pair.\n\nAttributes:\n    first: The one:\n        so it is.\n    second: The other."
    assert section_texts(document, "Attributes") == {"first": "The one: so it is.", "second": "The other."}
    assert section_texts(document, "Args") == {}


@pytest.mark.parametrize("document", ["", "Only a headline.", "Returns:\n    units: A number."])
def test_without_arguments_there_are_none(document):
    assert argument_texts(document) == {}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("One. Two.", "One."),
        ("A line\nand another\n\nMore.", "A line and another."),
        ("As Power et al. have it. Two.", "As Power et al. have it."),
        ("Is it? Yes.", "Is it?"),
        ("", ""),
    ],
)
def test_the_first_sentence(document, sentence):
    assert first_sentence(document) == sentence
