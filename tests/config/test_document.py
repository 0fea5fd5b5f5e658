"""The YAML reader: YAML 1.2's scalars, places of keys and values, and what it refuses, quickly."""

import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import calls_of

from nnlab.config import load, resolve
from nnlab.config.document import (
    MAXIMUM_FILE_BYTES,
    MAXIMUM_LEVELS,
    MAXIMUM_PROBLEM_LINES,
    MAXIMUM_VALUES,
    dump,
    parse,
    parse_value,
    plain_scalar,
    read,
)
from nnlab.errors import ConfigError
from nnlab.text import suggestion

SCALARS = {
    "1e-3": 0.001,
    "1E3": 1000.0,
    "-1.5e+2": -150.0,
    ".5": 0.5,
    "5.": 5.0,
    "0.1": 0.1,
    "0": 0,
    "-7": -7,
    "+7": 7,
    "010": 10,
    "0x1F": 31,
    "0o17": 15,
    ".inf": math.inf,
    "-.Inf": -math.inf,
    "+.INF": math.inf,
    "true": True,
    "True": True,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    # words of YAML 1.1 that are plain text in 1.2
    "no": "no",
    "yes": "yes",
    "on": "on",
    "Off": "Off",
    "y": "y",
    "12:30:45": "12:30:45",
    "1_000": "1_000",
    "0b11": "0b11",
    "2001-01-01": "2001-01-01",
    "=": "=",
    "<<": "<<",
    # nearly something else
    "nUll": "nUll",
    "tRUE": "tRUE",
    "-0x1F": "-0x1F",
    "0x": "0x",
    "0o8": "0o8",
    "1e": "1e",
    "e3": "e3",
    ".": ".",
    "1.2.3": "1.2.3",
    "inf": "inf",
    "nan": "nan",
    "'no'": "no",
    '"1e-3"': "1e-3",
    "'null'": "null",
    "''": "",
}


def errors(text):
    with pytest.raises(ConfigError) as caught:
        parse_value(text, "f.yaml")
    return list(caught.value.lines)


@pytest.mark.parametrize(("text", "value"), SCALARS.items())
def test_scalars_follow_yaml_1_2(text, value):
    found = parse_value(f"key: {text}", "f.yaml").tree["key"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_nan(text):
    assert math.isnan(parse_value(text, "f.yaml").tree)


@pytest.mark.parametrize("text", ["", "# only a comment", "key:"])
def test_nothing_is_null(text):
    tree = parse_value(text, "f.yaml").tree
    assert (tree["key"] if text == "key:" else tree) is None


def test_block_text_is_text():
    assert parse_value("a: |\n  1\n  2\nb: >\n  no\n  1\n", "f.yaml").tree == {"a": "1\n2\n", "b": "no 1\n"}


def test_a_yaml_1_1_directive_changes_nothing():
    assert parse_value("%YAML 1.1\n---\na: no", "f.yaml").tree == {"a": "no"}


def test_every_key_and_value_has_its_place():
    document = parse_value("a: 1\nlist:\n  - x\n  - {b: 2,\n     c: 3}\n", "f.yaml")
    assert {path: f"{m.line}:{m.column}" for path, m in document.keys.items()} == {
        ("a",): "1:1",
        ("list",): "2:1",
        ("list", 1, "b"): "4:6",
        ("list", 1, "c"): "5:6",
    }
    assert {path: f"{m.line}:{m.column}" for path, m in document.values.items()} == {
        (): "1:1",
        ("a",): "1:4",
        ("list",): "3:3",
        ("list", 0): "3:5",
        ("list", 1): "4:5",
        ("list", 1, "b"): "4:9",
        ("list", 1, "c"): "5:9",
    }


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a",), "1:1"),
        (("list", 1, "c"), "5:6"),
        (("list", 1), "4:5"),
        (("list", 1, "gone"), "4:5"),
        (("list", 7), "2:1"),
        (("gone", "deeper"), "1:1"),
        ((), "1:1"),
    ],
)
def test_a_path_points_at_its_key_or_its_nearest_parent(path, place):
    document = parse_value("a: 1\nlist:\n  - x\n  - {b: 2,\n     c: 3}\n", "f.yaml")
    assert str(document.mark(path)) == f"f.yaml:{place}"


def test_a_column_counts_characters():
    assert str(parse_value("{é: 1, ü: 2}", "f.yaml").mark(("ü",))) == "f.yaml:1:8"


def test_duplicate_keys_name_the_first_line():
    assert errors("a: 1\nb: {c: 1,\n  c: 2}\na: 3\na: 4\n") == [
        "f.yaml:3:3: b.c: given twice, first in line 2; keep one",
        "f.yaml:4:1: a: given twice, first in line 1; keep one",
        "f.yaml:5:1: a: given twice, first in line 1; keep one",
    ]


def test_keys_that_differ_as_text_are_different():
    assert parse_value("1: a\n01: b\nnull: c", "f.yaml").tree == {"1": "a", "01": "b", "null": "c"}


@pytest.mark.parametrize("text", ["§? [a]\n: 1", "x: 1\n§? {a: b}\n: 1"])
def test_a_key_is_a_word(text, marked):
    text, _ = marked(text)
    (line,) = errors(text)
    assert line.endswith("a key must be a word")


@pytest.mark.parametrize(
    "text",
    [
        "a: §!!python/object/apply:os.system [ls]",
        "a: §!!python/name:os.system",
        "a: §!foo 1",
        "a: §! 1",
        "a: §!!int 3",
        "a: §!!bool no",
        "a: §!!str 3",
        "a: §!!float 3",
        "a: §!!map {}",
        "a: §!!seq []",
        "a: §!!binary aGk=",
        "§!!str a: 1",
        "a: [1, §!!set {x, y}]",
        "a: §&x !foo 1",
    ],
)
def test_tags_are_refused_where_they_stand(text, marked):
    text, (place,) = marked(text)
    (line,) = errors(text)
    assert line.startswith(f"f.yaml:{place}: ")
    assert "tag" in line


@pytest.mark.parametrize("text", ["&a [*a]", "&a {x: *a}", "x: &a\n  y: [1, {z: *a}]"])
def test_an_alias_inside_itself_is_refused(text):
    (line,) = errors(text)
    assert line.endswith("an alias that contains itself")


BASE = "name: a\ndata: xor\nmodel: [{type: dense, units: 2}]\ntrain: {steps: 1}\n"
LARGEST = {  # of 256 KiB, the slowest shapes that were found
    "a list": "a: [" + "1," * 130_000 + "]",
    "empty lists": "[" + "[]," * 80_000 + "]",
    "a block list": "a:\n" + "- 1\n" * 60_000,
    "lists in lists": "[" * 47 + "[]," * 80_000 + "]" * 47,
    "keys": "".join(f"k{i}: 1\n" for i in range(22_000)),
    "one key": "a: 1\n" * 50_000,
    "empty keys": "?\n" * 130_000,
    "aliases": "a: &a 1\nb: [" + "*a," * 80_000 + "]",
    "anchors": "".join(f"k{i}: &a{i} 1\n" for i in range(15_000)),
    "merge keys": "a: &a {b: 1}\nc: {" + "<<: *a, " * 20_000 + "}",
    "documents": "---\n" * 65_000,
    "a long word": "a: " + "x" * 260_000,
    "a long text": "a: " + "x " * 130_000,
    "a long key": "? " + "x" * 260_000 + "\n: 1",
    "a long key in quotes": "? '" + "x" * 260_000 + "'\n: 1",
    "a long tag": "a: !" + "x" * 260_000 + " 1",
    "digits": BASE + "seed: " + "9" * 200_000,
    "unknown keys": BASE + "".join(f"unit{i}: 1\n" for i in range(2_400)),
    "unknown layers": BASE.replace(
        "[{type: dense, units: 2}]", f"[{','.join(f'relo{i}' for i in range(4_900))}]"
    ),
    "a long layer": BASE.replace("dense", "d" * 200_000),
    "layers, deep": BASE.replace("[{", "[" * 40 + "relu," * 4_900 + "{").replace("}]", "}" + "]" * 40),
    "dense layers": BASE.replace("[{", "[" + "{type: dense, units: 3}," * 900 + "{"),
    "long ranges": BASE
    + f"sweep: {{zip: {{{','.join(f'a{i}: {{range: [0, 99999]}}' for i in range(800))}}}}}",
    "many trials": BASE
    + f"sweep: {{axes: {{{','.join(f'a{i}: {{range: [0, 99999]}}' for i in range(800))}}}}}",
}


MOST_CALLS = 4_000_000  # half a second of work


@pytest.mark.parametrize("text", LARGEST.values(), ids=LARGEST)
def test_no_file_is_much_work(text, tmp_path):
    """And what is said of it is no book."""
    (tmp_path / "f.yaml").write_text(text)
    lines = ()

    def read_or_refuse():
        nonlocal lines
        try:
            load(tmp_path / "f.yaml")
        except ConfigError as error:
            lines = error.lines

    assert calls_of(read_or_refuse) < MOST_CALLS
    assert len(lines) <= MAXIMUM_PROBLEM_LINES + 1
    assert all(line.isprintable() and len(line) < 2_000 for line in lines)


@pytest.mark.parametrize("name", ["unknown keys", "unknown layers"])
def test_near_misses_are_looked_for_in_shown_lines_only(name, tmp_path, monkeypatch):
    (tmp_path / "f.yaml").write_text(LARGEST[name])
    compared = []

    def counted(word, words):
        compared.append(word)
        return suggestion(word, words)

    monkeypatch.setattr(resolve, "suggestion", counted)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "f.yaml")
    assert len(caught.value.lines) == MAXIMUM_PROBLEM_LINES + 1
    assert len(compared) == MAXIMUM_PROBLEM_LINES


def test_many_problems_are_counted():
    lines = errors(
        "\n".join(f"a{i}: 1" for i in range(150)) + "\n" + "\n".join(f"a{i}: 2" for i in range(150))
    )
    assert len(lines) == MAXIMUM_PROBLEM_LINES + 1
    assert lines[-1] == "f.yaml: and 50 more"


def test_two_halves_of_a_character_are_a_whole_one():
    """As JSON writes it."""
    assert parse_value('{"\\ud83d\\ude00": "x\\ud83d\\ude00"}', "f.yaml").tree == {"😀": "x😀"}


@pytest.mark.parametrize("escape", ["\\ud800", "\\ude00\\ud83d"])
@pytest.mark.parametrize("text", ["a: §'?'", "§'?': 1", "a: [1, §'x?y']"])
def test_half_a_character_is_refused_where_it_stands(text, escape, marked):
    text, (place,) = marked(text.replace("'", '"').replace("?", escape))
    assert errors(text) == [
        f"f.yaml:{place}: not YAML: {escape[:6]} is half a character; write the whole one"
    ]


@pytest.mark.parametrize(
    "text",
    ['a: "\\§UFFFFFFFF"', 'a: "\\§U00110000"', f"%YAML 1.§{'9' * 5000}\n---\na: 1"],
    ids=["U", "U", "%YAML"],
)
def test_numbers_of_characters_and_versions_have_an_end(text, marked):
    text, _ = marked(text)
    (line,) = errors(text)
    assert line.endswith("not YAML: the number of a character or version is too large")


def test_hexadecimal_digits_are_written_in_digits_that_are_read():
    number = parse_value("0x" + "f" * 330, "f.yaml").tree
    assert number == 16**330 - 1
    assert parse_value(dump(number), "f.yaml").tree == number


def test_an_alias_stands_for_its_anchor():
    tree = parse_value("a: &a {x: [1]}\nb: *a", "f.yaml").tree
    assert tree == {"a": {"x": [1]}, "b": {"x": [1]}}
    tree["b"]["x"].append(2)
    assert tree["a"] == {"x": [1]}, "an override of one must not change the other"


def lists_of_lists(levels=9, width=9):
    """The billion laughs."""
    rows = [f"a0: &a0 [{', '.join('x' * width)}]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(rows)


def merge_keys(levels=9, width=9):
    rows = ["a0: &a0 {k: 1}"]
    rows += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * width)}]}}" for i in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("bomb", "says"),
    [
        (lists_of_lists(), f"more than {MAXIMUM_VALUES} values"),
        (merge_keys(), f"more than {MAXIMUM_VALUES} values"),
        ("[" * 5000, f"nested more than {MAXIMUM_LEVELS} levels deep"),
        ("- " * 5000 + "x", f"nested more than {MAXIMUM_LEVELS} levels deep"),
        ("{a: " * 5000 + "1" + "}" * 5000, f"nested more than {MAXIMUM_LEVELS} levels deep"),
        ("? " * 5000, f"nested more than {MAXIMUM_LEVELS} levels deep"),
        ("[a: " * 1000, f"nested more than {MAXIMUM_LEVELS} levels deep"),
    ],
    ids=["lists", "merge keys", "open lists", "block lists", "mappings", "keys", "pairs"],
)
def test_bombs_are_refused_at_once(bomb, says):
    lines = []
    assert calls_of(lambda: lines.extend(errors(bomb))) < MOST_CALLS
    (line,) = lines
    assert says in line


def test_the_deepest_allowed_nesting():
    assert parse_value("[" * MAXIMUM_LEVELS + "]" * MAXIMUM_LEVELS, "f.yaml").tree is not None
    assert len(errors("[" * (MAXIMUM_LEVELS + 1) + "]" * (MAXIMUM_LEVELS + 1))) == 1


@pytest.mark.parametrize("digits", [401, 5000, 100_000])
def test_an_endless_number_is_no_crash(digits):
    assert parse_value("9" * digits, "f.yaml").tree == math.inf
    assert plain_scalar("0x" + "f" * digits) == "0x" + "f" * digits


@pytest.mark.parametrize(
    "text",
    ["[1, 2§", "{a: 1§", "a: b§: c", "a:§\t1", "a: §*x", "a: 1\n b§: 2", "--- 1\n§--- 2", "a: §@x", "a: §`x"],
)
def test_broken_yaml_is_one_line_with_its_place(text, marked):
    text, (place,) = marked(text)
    (line,) = errors(text)
    assert line.startswith(f"f.yaml:{place}: not YAML: ")


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\x7f", "\ud800", "\ufffe"])
def test_characters_outside_yaml_are_refused_where_they_stand(character):
    (line,) = errors(f"a: 1\nbc: x{character}y")
    assert line == f"f.yaml:2:6: not YAML: the character #x{ord(character):04x} is not allowed"


def test_control_characters_never_reach_the_terminal():
    lines = errors('"\\e[31mred": 1\n"\\e[31mred": 2\n"two\\nlines": 1\n"two\\nlines": 2')
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[31mred" in lines[0]


# --- files -------------------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(ConfigError) as caught:
        read(path)
    (line,) = caught.value.lines
    assert line.startswith(f"{path}:")
    return line


def test_a_file_with_a_byte_order_mark(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    document = read(tmp_path / "f.yaml")
    assert document.tree == {"name": "x"}
    assert str(document.mark(("name",))).endswith("f.yaml:1:1")


@pytest.mark.parametrize(
    "content", [b"name: \xff\xfe", "name: é".encode("latin-1"), "name: x".encode("utf-16")]
)
def test_a_file_that_is_not_utf_8(tmp_path, content):
    (tmp_path / "f.yaml").write_bytes(content)
    assert "not UTF-8" in refused(tmp_path / "f.yaml")


def test_a_file_with_a_nul(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"name: a\0b")
    assert "1:8" in refused(tmp_path / "f.yaml")


def test_a_file_too_large(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"name: x\n" + b"#" * MAXIMUM_FILE_BYTES)
    lines = []
    assert calls_of(lambda: lines.append(refused(tmp_path / "f.yaml"))) < 1_000
    assert "larger than 256 KiB" in lines[0]


def test_an_endless_file_is_not_read_to_its_end():
    """/dev/zero has no end and no size."""
    assert "larger than" in refused(Path("/dev/zero"))


def test_a_missing_file(tmp_path):
    assert "no such file" in refused(tmp_path / "f.yaml")


def test_a_folder_is_no_file(tmp_path):
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize("text", ["", "- a", "just words", "3", "null"])
def test_an_experiment_file_is_a_mapping(text):
    with pytest.raises(ConfigError, match=r"^f\.yaml:1:1: an experiment file is a mapping"):
        parse(text, "f.yaml")


# --- dump and back -----------------------------------------------------------------------------------------

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from(list(SCALARS)),
)
KEYS = st.one_of(st.text(max_size=8), st.sampled_from(list(SCALARS)))
TREES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def typed(tree):
    """Values with their types: 1, 1.0 and true are equal in Python."""
    if isinstance(tree, dict):
        return {key: typed(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [typed(value) for value in tree]
    return type(tree), repr(tree)


@settings(max_examples=300, deadline=None)
@given(TREES)
@example({"learning_rate": 1e-5, "no": "no", "x": "1e-3", "": "", "y": 1e22, "z": -0.0})
@example({"long": "word " * 60, "lines": "a\n\nb\n", "space": " x ", "tab": "\t"})
@example(
    ["- a", "# b", "c: d", "{e", "&f", "*g", "!h", "%i", "@j", "`k", "'l", '"m', "|", ">", "?", "-", ":"]
)
@example(["\x1b", "\0", "\x85", "\u2028", "\ufeff", "\U0001f600", "é"])
@example({"k" * 200: 1, "two\nlines": 2, "? x": 3})
def test_what_is_written_reads_back(tree):
    assert typed(parse_value(dump(tree), "f.yaml").tree) == typed(tree)


def test_keys_keep_their_order():
    assert list(parse_value(dump({"z": 1, "a": 2, "m": 3}), "f.yaml").tree) == ["z", "a", "m"]


@pytest.mark.parametrize("number", [1e-5, 1e22, 1.5e300, 5e-324])
def test_written_floats_are_floats_to_yaml_1_1_readers_too(number):
    import yaml

    assert yaml.safe_load(dump({"x": number})) == {"x": number}
