"""Texts as windows of tokens, against Python's own strings."""

from pydoc_data.topics import topics

import numpy as np
import pytest
from support import load

from nnlab.data.datasets import text_file
from nnlab.data.inputs import ByteInputs
from nnlab.errors import InvalidValue

LINES = "the cat sat on the mat.\nthe rat sat on the cat.\n" * 20


@pytest.fixture
def put(tmp_path):
    """Write a file; returns its path."""

    def put(content, name="some.txt"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / name)

    return put


def text(path, **keys):
    return load({"type": "text", "path": path, "length": 10, **keys})


def spelled(part, rows):
    """The tokens of an array of numbers, as strings."""
    return ["".join(part.class_names[int(number)] for number in row) for row in np.asarray(rows)]


def test_windows_are_slices_of_the_text_and_targets_lie_one_further(put):
    data = text(put(LINES), split={"train": 0.5, "validation": 0.25, "test": 0.25})
    for part in data.splits.values():
        assert isinstance(part.inputs, ByteInputs)
        assert spelled(part, part.inputs) == [LINES[row : row + 10] for row in part.rows]
        assert spelled(part, part.targets) == [LINES[row + 1 : row + 11] for row in part.rows]
        assert part.class_names == tuple(sorted(set(LINES[: len(LINES) // 2])))


def test_parts_lie_one_behind_the_other_and_share_no_token(put):
    data = text(put(LINES), split={"train": 0.5, "validation": 0.3, "test": 0.2}, stride=3)
    seen = {}
    for name, part in data.splits.items():
        seen[name] = {row + i for row in part.rows.tolist() for i in range(11)}
        np.testing.assert_array_equal(np.diff(part.rows), 3 if name == "train" else 10)
    assert max(seen["train"]) < 480 <= min(seen["validation"])
    assert max(seen["validation"]) < 768 <= min(seen["test"])
    assert max(seen["test"]) < len(LINES) == 960


def test_every_target_of_a_part_comes_once(put):
    data = text(put(LINES[:111] + LINES[:51]), split={"train": 111, "test": 51})
    assert "".join(spelled(data.train, data.train.targets)) == LINES[1:111]
    assert "".join(spelled(data.test, data.test.targets)) == LINES[1:51]


def test_the_vocabulary_is_that_of_the_training_part(put):
    path = put("ab" * 20 + "abcabd" * 10)
    data = text(path, split={"train": 40, "test": 60})
    assert data.train.class_names == ("a", "b", text_file.UNKNOWN)
    assert data.train.classes == 3
    assert spelled(data.test, data.test.inputs)[0] == "ab�ab�ab�a"
    assert data.notes == (
        f"20 characters of '{path}' do not occur in its training part ('c' and 'd'); they are one token, 2",
    )


def test_ends_of_lines_and_a_byte_order_mark_are_read_alike(put):
    plain = text(put("ab\ncd\n" * 20))
    for content in (b"ab\r\ncd\r\n" * 20, b"ab\rcd\r" * 20, b"\xef\xbb\xbf" + b"ab\ncd\n" * 20):
        assert text(put(content)).hash == plain.hash


def test_bytes_are_read_as_they_are(put):
    content = bytes([255, 0, 13, 10]) * 30
    data = text(put(content), unit="bytes")
    assert [ord(name) for name in data.train.class_names] == list(range(256))
    assert bytes(ord(c) for c in spelled(data.train, data.train.inputs)[0]) == content[:10]


def test_characters_beyond_ascii_are_one_token_each(put):
    data = text(put("äö€😀" * 30))
    assert data.train.class_names == tuple(sorted("äö€😀"))


def test_many_characters_take_two_bytes(put):
    many = "".join(chr(0x4E00 + i) for i in range(300))
    data = text(put(many * 2), split={"train": 300, "test": 300})
    assert data.train.classes == 300
    assert spelled(data.test, data.test.inputs) == [many[row - 300 : row - 290] for row in data.test.rows]


@pytest.mark.parametrize(
    ("content", "keys", "words"),
    [
        (b"", {}, "'{}' is empty"),
        (b"ab" * 4, {}, "the training part of '{}' has 6 characters, and a window takes 11"),
        (b"ab" * 20, {"split": {"test": 0.1}}, "the test part of '{}' has 4 characters"),
        (
            "grün\n".encode() + b"gr\xfcn\n",
            {},
            "byte 8 (counted from 0, in line 2) is 0xfc; save it as UTF-8",
        ),
        (b"\xef\xbb\xbfab\xff", {}, "byte 5 (counted from 0, in line 1) is 0xff"),
        (b"PNG\n\0\xff", {}, "byte 4 (counted from 0, in line 2) is 0x00"),
        ("ab" * 99, {"split": {"stratify": True}}, "divided by place; leave out 'stratify'"),
        ("ab" * 99, {"split": {"folds": 3}}, "divided by place; leave out 'folds'"),
        ("ab" * 99, {"split": {"train": 0.5, "sample": 0}}, "divided by place; leave out 'sample'"),
        ("ab" * 99, {"split": {"train": 300}}, "add up to more than the 198 characters there are"),
        ("ab" * 99, {"keep_classes": [0]}, "needs one class an example; here is one at every position"),
        ("a" * 99, {}, "all 6 examples are of class 0 ('a'); there is nothing to tell apart"),
    ],
)
def test_what_does_not_suit_is_refused_in_a_line(put, content, keys, words):
    path = put(content)
    with pytest.raises(InvalidValue) as error:
        text(path, **keys)
    assert words.format(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_a_folder_are_refused(tmp_path):
    for path, words in ((tmp_path / "none.txt", "there is no"), (tmp_path, "is no file")):
        with pytest.raises(InvalidValue, match=words):
            text(str(path))


def test_what_cannot_fit_is_not_read(put, monkeypatch):
    path = put("ab" * 1000)
    monkeypatch.setattr(text_file, "is_too_large", lambda size: size > 10_000)
    assert len(text(path, split={"train": 1.0}).train) == 199
    with pytest.raises(InvalidValue, match="too much for memory; give a part of it"):
        text(path, stride=1)


def test_noise_on_labels_is_of_positions(put):
    clean = text(put(LINES), split={"train": 1.0})
    noisy = text(put(LINES), split={"train": 1.0}, label_noise={"fraction": 0.25, "by": "other"})
    changed = clean.train.targets != noisy.train.targets
    assert changed.sum() == round(0.25 * changed.size)


def test_without_a_path_it_is_the_manual_of_this_python():
    data = load({"type": "text", "split": {"train": 0.9, "test": 0.1}})
    content = "\n\n".join(topics[name] for name in sorted(topics))
    assert "".join(spelled(data.train, data.train.inputs[:3])) == content[: 3 * 64]
    assert set(data.train.class_names) - {text_file.UNKNOWN} <= set(content)
    in_bytes = load({"type": "text", "unit": "bytes", "split": {"train": 1.0}})
    assert "".join(spelled(in_bytes.train, in_bytes.train.inputs[:3])) == content[: 3 * 64]
