"""Folders of images: what is an image, how it is turned, what is left out, which subfolders are splits."""

import io
import os
import zlib

import numpy as np
import pytest
from PIL import Image
from support import load

from nnlab.data.datasets.resize import resize_images
from nnlab.errors import InvalidValue

COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255], [9, 8, 7]]
TWO_BY_THREE = np.array(COLOURS, np.uint8).reshape(2, 3, 3)


def save(folder, name, pixels=TWO_BY_THREE, mode=None, **options):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(folder / name, **options)


def refusal(folder, **keys):
    """What is said of a folder that will not do, in one line, and of which key."""
    with pytest.raises(InvalidValue) as caught:
        load_folder(folder, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.at


def load_folder(folder, **keys):
    return load({"type": "image_folder", "path": str(folder), "split": {"train": 1.0}} | keys)


def test_image_folder_numbers_its_sorted_subfolders(tmp_path):
    for number, name in enumerate(("b/1.png", "a/1.PNG", "a/2.bmp", "c/x.ppm", "b/0.tiff")):
        save(tmp_path, name, np.full((2, 3, 3), 10 * number))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    train = load_folder(tmp_path).train
    assert train.classes == 3
    assert train.inputs.shape == (5, 2, 3, 3)
    assert dict(zip(np.round(train.inputs[:, 0, 0, 0] * 255), train.targets, strict=True)) == {
        10: 0, 20: 0, 0: 1, 40: 1, 30: 2,
    }  # fmt: skip


@pytest.mark.parametrize("mode", [None, "P", "RGBA", "CMYK"])
def test_images_of_any_mode_are_colours_or_greys(tmp_path, mode):
    for kind in "ab":
        save(tmp_path, f"{kind}/x.{'tif' if mode == 'CMYK' else 'png'}", mode=mode)
    found = load_folder(tmp_path).train.inputs[0]
    grey = load_folder(tmp_path, grey=True).train.inputs[0]
    assert grey.shape == (2, 3)
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(grey, found @ weights, atol=0.5 / 255 + 1e-6)  # rounded to bytes
    if mode != "P":  # whose colours are a palette's
        np.testing.assert_array_equal(found, TWO_BY_THREE / np.float32(255))


# EXIF 2.3, 4.6.4: which sides of the scene the stored rows begin at, and the stored columns
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_are_turned_as_their_exif_orientation_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rows, columns = np.mgrid[:8, :16]
    stored = np.stack([30 * rows, 15 * columns, 10 * rows + 5 * columns], 2)  # smooth enough for JPEG
    save(tmp_path, "a/x.jpg", stored, exif=exif, quality=100, subsampling=0)
    save(tmp_path, "a/x.png", stored, exif=exif)
    save(tmp_path, "b/x.tif", stored, exif=exif)
    save(tmp_path, "b/x.webp", stored, exif=exif, lossless=True)
    train = load_folder(tmp_path).train
    expected = UPRIGHT[orientation](stored) / np.float32(255)
    assert {name[-4:] for name in train.rows} == {".jpg", ".png", ".tif", "webp"}
    for image, name in zip(train.inputs, train.rows, strict=True):
        np.testing.assert_allclose(image, expected, atol=3 / 255 if name.endswith("jpg") else 0)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\x09\0\0"]
)
def test_a_strange_orientation_turns_nothing(tmp_path, exif):
    for kind in "ab":
        save(tmp_path, f"{kind}/x.jpg", np.full((2, 3, 3), 200), exif=exif)
    assert load_folder(tmp_path).train.inputs.shape == (2, 2, 3, 3)


def test_images_are_known_by_every_suffix_of_their_formats(tmp_path):
    formats = {
        "PNG": "png apng", "JPEG": "jpg jpeg jpe jfif JFIF jif pjpeg pjp", "BMP": "bmp", "DIB": "dib",
        "GIF": "gif", "TIFF": "tif tiff Tiff", "WEBP": "webp", "PPM": "ppm pnm pgm pbm",
    }  # fmt: skip
    formats = {suffix: name for name, suffixes in formats.items() for suffix in suffixes.split()}
    for suffix, name in formats.items():
        for kind, grey in (("a", 255), ("b", 0)):
            mode = {"pgm": "L", "pbm": "1"}.get(suffix)
            save(tmp_path, f"{kind}/x.{suffix}", np.full((2, 3, 3), grey), mode, format=name)
    data = load_folder(tmp_path)
    assert sorted(data.train.rows) == sorted(f"{kind}/x.{suffix}" for suffix in formats for kind in "ab")
    np.testing.assert_array_equal(data.train.inputs[:, 0, 0, 0], 1 - data.train.targets)
    assert data.notes == ()


def test_what_is_left_out_is_counted_by_suffix_and_depth(tmp_path):
    for name in ("a/0.png", "b/1.png", "a/._0.png", "a/.DS_Store", ".DS_Store", ".git/x.png"):
        save(tmp_path, name, format="PNG")
    for name in ("labels.csv", "a/Thumbs.db", "a/notes.TXT", "b/more.txt", "b/LICENSE", "b/raw/0.cr2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "b" / "pipe.sock")
    (tmp_path / "b" / "linked.png").symlink_to(tmp_path / "a" / "0.png")
    (tmp_path / "c").symlink_to(tmp_path / "gone")
    data = load_folder(tmp_path)
    assert data.notes == (
        f"'{tmp_path}': left out 2 hidden, 1 broken link and 1 .csv beside the class folders; 2 hidden, "
        "2 .txt, 1 .db, 1 without suffix and 1 .sock in class folders; 1 .cr2 in subfolders of class folders",
    )
    assert sorted(data.train.rows) == ["a/0.png", "b/1.png", "b/linked.png"]
    for number in range(9):
        (tmp_path / "a" / f"x.{number}").touch()
    assert "and 8 of other suffixes in class folders" in load_folder(tmp_path).notes[0]


def test_later_images_of_a_file_are_counted(tmp_path):
    frames = [Image.fromarray(np.full((2, 3, 3), grey, np.uint8)) for grey in (0, 100, 200)]
    for name in ("a/x.gif", "a/y.png", "b/z.webp", "b/t.tiff"):
        save(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
    data = load_folder(tmp_path)
    assert data.notes == (f"'{tmp_path}': left out 8 later frames in class folders",)
    np.testing.assert_allclose(data.train.inputs, 0, atol=2 / 255)  # of WebP's loss


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["c.png", "d.JPG"], "holds 2 images (such as 'c.png') beside its subfolders; move them into one"),
        (["a/more/2.png"], "a' holds 1 image (such as 'more/2.png') in subfolders, and a class's images"),
        (["a/x/y/z/2.png", "a/x/3.gif"], "a' holds 2 images (such as 'x/3.gif') in subfolders"),
        (["a/x.png/0.txt"], "x.png' is a folder; take it out, or name it otherwise"),
    ],
)  # fmt: skip
def test_images_where_no_class_says_what_they_are_are_refused(tmp_path, extra, said):
    for name in ("a/0.png", "b/1.png", *extra):
        save(tmp_path, name, format="PNG")
    found, at = refusal(tmp_path)
    assert said in found
    assert at == ("path",)


def test_what_is_called_an_image_must_be_a_regular_file(tmp_path):
    for name in ("a/0.png", "b/1.png", "elsewhere.txt/2.png"):
        save(tmp_path, name)
    (tmp_path / "elsewhere.txt").rename(tmp_path / ".elsewhere")
    odd = tmp_path / "b" / "odd.jpg"
    os.mkfifo(odd)
    assert f"'{odd}' is no regular file" in refusal(tmp_path)[0]
    for target, said in (
        (tmp_path / "gone", "a link to none"),
        (odd, "link to none"),
        ("../a", "is a folder"),
    ):
        odd.unlink()
        odd.symlink_to(target)
        assert said in refusal(tmp_path)[0]
    odd.unlink()
    (tmp_path / "b" / "up").symlink_to("..")
    assert "b' holds 2 images (such as 'up/a/0.png') in subfolders" in refusal(tmp_path)[0]


@pytest.mark.parametrize(
    "names",
    [
        {"train": "train", "test": "test"},
        {"train": "train", "validation": "val", "test": "test"},
        {"train": "Training", "validation": "Valid"},
        {"train": "TRAIN", "validation": "validation", "test": "Testing"},
    ],
    ids=lambda names: "-".join(names.values()),
)
def test_subfolders_of_splits_make_the_own_division(tmp_path, names):
    for number, name in enumerate(names.values()):
        for kind in ("ant", "bee"):
            for copy in range(3 - number):
                save(tmp_path, f"{name}/{kind}/{copy}.png", np.full((2, 2, 3), 10 * number + copy))
    data = load_folder(tmp_path, split=None)
    assert list(data.splits) == list(names)
    for number, (split, name) in enumerate(names.items()):
        part, count = data.splits[split], 3 - number
        assert sorted(part.rows) == [
            f"{name}/{kind}/{copy}.png" for kind in ("ant", "bee") for copy in range(count)
        ]
        copies = [int(row[-5]) for row in part.rows]
        np.testing.assert_array_equal(np.round(part.inputs[:, 0, 0, 0] * 255), 10 * number + np.array(copies))
        np.testing.assert_array_equal(part.targets, ["bee" in row for row in part.rows])
        assert part.class_names == ("ant", "bee")


def test_splits_that_are_not_clear_are_refused(tmp_path):
    for name in ("train/a/0.png", "train/b/0.png"):
        save(tmp_path, name)
    said, _ = refusal(tmp_path)
    assert "train' holds 2 images (such as 'a/0.png') in subfolders" in said
    assert said.endswith("or let 'path' be the folder above the classes")
    for name in ("val/a/0.png", "Valid/a/0.png"):
        save(tmp_path, name)
    assert "holds both Valid and val for validation" in refusal(tmp_path)[0]
    (tmp_path / "Valid").rename(tmp_path / ".away")
    assert "class 'b' is in train, not in val" in refusal(tmp_path)[0]
    save(tmp_path, "val/0.png")
    assert "val' holds 1 image (such as '0.png') beside its subfolders" in refusal(tmp_path)[0]


def test_classes_have_the_folders_names_in_the_order_of_text(tmp_path):
    for number in range(12):
        save(tmp_path, f"{number}/x.png", np.full((2, 2, 3), 20 * number))
    data = load_folder(tmp_path)
    names = data.train.class_names
    assert names == ("0", "1", "10", "11", *"23456789")
    shown = np.round(data.train.inputs[:, 0, 0, 0] * 255 / 20)
    np.testing.assert_array_equal(shown, [int(names[number]) for number in data.train.targets])
    assert data.notes == (f"'{tmp_path}': classes are sorted as text, so that class 2 is '10'",)


def test_notes_are_printed_by_the_commands(folder, nnlab):
    for name in ("photos/a/0.png", "photos/b/1.png"):
        save(folder, name)
    (folder / "photos" / "labels.csv").touch()
    (folder / "a.yaml").write_text(
        "name: a\ndata: {type: image_folder, path: photos, split: {train: 1.0}}\ntrain: {steps: 1}\n"
        "model: [flatten, {type: dense, units: 2}]\n"
    )
    note = "note: 'photos': left out 1 .csv beside the class folders\n"
    assert f"a.yaml: {note}" in nnlab("validate", "a.yaml").stdout
    assert f"a.yaml: {note}" in nnlab("summary", "a.yaml").stdout
    assert note in nnlab("train", "a.yaml", "--dry-run").stderr
    assert nnlab("train", "a.yaml", "--dry-run", "--quiet").stderr == ""
    assert note in nnlab("train", "a.yaml", "--no-plots").stderr
    assert "left out" in next((folder / "results").rglob("train.log")).read_text()
    assert note in nnlab("sweep", "a.yaml", "model.1.use_bias=true,false", "--dry-run").stderr


def test_train_and_test_make_the_own_test_set(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for kind in "ab":
            for number in range(count):
                save(tmp_path, f"{part}/{kind}/{number}.png")
    data = load_folder(tmp_path, split=None)
    assert (len(data.train), data.validation, len(data.test)) == (6, None, 4)
    np.testing.assert_array_equal(data.test.targets, [0, 0, 1, 1])
    save(tmp_path, "test/c/0.png")
    assert "class 'c' is in test, not in train" in refusal(tmp_path)[0]
    (tmp_path / "other").mkdir()
    assert "holds 'other' beside train and test" in refusal(tmp_path)[0]


def test_images_of_different_sizes_need_a_size(tmp_path):
    save(tmp_path, "a/0.png")
    save(tmp_path, "b/1.png", np.zeros((5, 4, 3)))
    said, at = refusal(tmp_path)
    assert "1.png' has 4 x 5 pixels, " in said
    assert "0.png' 3 x 2; give the 'size'" in said
    assert at == ("size",)
    train = load_folder(tmp_path, size=6).train
    assert train.inputs.shape == (2, 6, 6, 3)
    np.testing.assert_allclose(
        train.inputs[train.targets == 0], resize_images(TWO_BY_THREE[None] / np.float32(255), 6), atol=1e-7
    )


def png_of(width, height):
    """A PNG whose header promises so many pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


def damaged(cut, start=0):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()[start:cut]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is damaged, or no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is damaged, or no image"),
        (damaged(30), ""),
        (damaged(-500), "truncated"),
        (png_of(20_000, 20_000), ""),
        (png_of(9000, 9000), "9000 x 9000 pixels, more than"),
        (png_of(2**31 - 1, 2**31 - 1), ""),
    ],
    ids=["empty", "postscript", "head", "cut", "bomb", "large", "huge"],
)
def test_images_that_will_not_do_are_refused(tmp_path, content, said):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(content)
    found, at = refusal(tmp_path)
    assert found.startswith(f"'{tmp_path / 'a' / 'x.png'}' cannot be read: ")
    assert said in found
    assert at == ("path",)


def test_folders_that_will_not_do_are_refused(tmp_path):
    said = "has no subfolders; it must hold one a class"
    assert said in refusal(tmp_path)[0]
    save(tmp_path, "cat.0.png")
    assert refusal(tmp_path)[0].endswith("1 image (such as 'cat.0.png') in the folder itself without a class")
    (tmp_path / "cat.0.png").unlink()
    save(tmp_path, "a/0.png")
    (tmp_path / "b").mkdir()
    assert f"'{tmp_path / 'b'}' holds no images (.png, " in refusal(tmp_path)[0]
    assert "is no folder" in refusal(tmp_path / "a" / "0.png")[0]
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "b" / "deep.png")
    assert "more than 8 bits" in refusal(tmp_path)[0]
