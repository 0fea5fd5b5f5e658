"""Data sets from folders of image files, with a subfolder for each class."""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nnlab.data.datasets.local_files import existing_path
from nnlab.data.datasets.resize import Side, check_image_memory, resize_images
from nnlab.data.examples import Examples, Loaded, Source, classification_examples
from nnlab.data.inputs import divided_by_255
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.system import files
from nnlab.text import join_words

# the formats that Pillow decodes by itself: for others it may start programs
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
MAXIMUM_PIXELS = 2**26  # of one image; its header says how many before it is decoded
MAXIMUM_KINDS = 6  # of files that are left out, in a message

BESIDE, IN, BELOW = "beside the class folders", "in class folders", "in subfolders of class folders"
Files = list[list[Path]]  # of each class
LeftOut = Counter[tuple[str, str]]  # how many files, by where they lie and of what kind they are


@register("dataset")
def image_folder(path: str, size: Side | None = None, grey: bool = False) -> Source:
    """A folder of image files with a subfolder for each class.

    The subfolders' names are those of the classes, and number them, sorted as text: `10` comes before `2`.
    Where the subfolders are `train` and `test`, `train` and `validation`, or all three, each with the same
    classes in it, they are the data set's own division; `training`, `val`, `valid` and `testing` will do as
    well, in upper or lower case.

    Images are files of the suffixes .png, .apng, .jpg, .jpeg, .jpe, .jfif, .jif, .pjpeg, .pjp, .bmp, .dib,
    .gif, .tif, .tiff, .webp, .ppm, .pgm, .pbm and .pnm, in upper or lower case. Other files, and hidden ones,
    are left out and counted in a note. Images beside the class folders or in subfolders of them are refused,
    as is what is called like an image and is no regular file.

    Images are turned as their EXIF orientation says, so that they are as any viewer shows them. Transparency
    is dropped. Of a file of several images, such as an animation, the first is taken, and a note counts the
    others. Inputs are `[N, H, W, 3]`, or `[N, H, W]` if grey, bytes divided by 255.

    Args:
        path: The folder; a relative path starts at the working directory.
        size: The side in pixels, 1 to 4096, that images are resized to, as for `idx`. With null, all images
            must have the same size.
        grey: Whether colours become 0.299 red + 0.587 green + 0.114 blue.
    """

    def load(_: int) -> Loaded:
        folder = existing_path(path)
        if not folder.is_dir():
            raise InvalidValue(f"'{path}' is no folder; name the one with a subfolder a class", ("path",))
        try:
            classes, parts, left_out = _scan(folder)
        except OSError as error:
            raise InvalidValue(f"'{error.filename}' cannot be read: {error.strerror}", ("path",)) from None
        read, left_out[IN, "later frames"] = _read(list(parts.values()), folder, size, grey)
        examples = dict(zip(parts, read, strict=True))
        names = tuple(map(_text, classes))
        examples = {part: replace(each, class_names=names) for part, each in examples.items()}
        notes = _notes(left_out, classes, path)
        return Loaded(examples["train"], examples.get("test"), examples.get("validation"), notes)

    return Source(load)


def _scan(folder: Path) -> tuple[list[str], dict[str, Files], LeftOut]:
    """The classes of a data set, the files of each of its parts, and what is left out.

    Raises:
        InvalidValue: The folder is not laid out as a data set.
        OSError: A folder cannot be read.
    """
    names, left_out = _subfolders(folder)
    places = {split: folder / name for split, name in _splits(names, folder).items()}
    classes = {"train": names}
    for split, place in places.items():
        classes[split], others = _subfolders(place)
        left_out += others
        for name in sorted(set(classes["train"]) ^ set(classes[split])):
            here, there = (places["train"], place) if name in classes["train"] else (place, places["train"])
            message = f"'{folder}': class '{name}' is in {here.name}, not in {there.name}"
            raise InvalidValue(message, ("path",))
    parts: dict[str, Files] = {}
    for split, place in (places or {"train": folder}).items():
        parts[split] = []
        for name in classes[split]:
            images, others = _images(place / name)
            parts[split].append(images)
            left_out += others
    return classes["train"], parts, left_out


def _splits(names: Sequence[str], folder: Path) -> dict[str, str]:
    """The subfolders that are splits, by split; none where they are classes. Raises InvalidValue."""
    found = {split: [name for name in names if name.lower() in words] for split, words in SPLITS.items()}
    if not found["train"] or not (found["validation"] or found["test"]):
        return {}
    for split, several in found.items():
        if len(several) > 1:
            message = f"'{folder}' holds both {join_words(several, 'and')} for {split}; take one of them out"
            raise InvalidValue(message, ("path",))
    splits = {split: each[0] for split, each in found.items() if each}
    other = next((name for name in names if name not in splits.values()), None)
    if other is not None:
        beside = join_words(list(splits.values()), "and")
        raise InvalidValue(f"'{folder}' holds '{other}' beside {beside}; take it out", ("path",))
    return splits


def _subfolders(folder: Path) -> tuple[list[str], LeftOut]:
    """The names of the subfolders, sorted, and what lies beside them. Raises InvalidValue, OSError."""
    names, images, left_out = [], [], LeftOut()
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or not (entry.is_dir() or _is_image(entry.name)):
            left_out[BESIDE, _kind(entry)] += 1
        elif entry.is_dir():
            names.append(entry.name)
        else:
            images.append(entry.name)
    if not names:
        also = f"; {_count(images)} in the folder itself without a class" if images else ""
        raise InvalidValue(f"'{folder}' has no subfolders; it must hold one a class{also}", ("path",))
    if images:
        message = f"'{folder}' holds {_count(images)} beside its subfolders; move them into one, or away"
        raise InvalidValue(message, ("path",))
    return names, left_out


def _images(folder: Path) -> tuple[list[Path], LeftOut]:
    """The image files of a class, sorted by name, and what else is there. Raises InvalidValue, OSError."""
    images, subfolders, left_out = [], [], LeftOut()
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            left_out[IN, _kind(entry)] += 1
        elif _is_image(entry.name):
            if not entry.is_file():
                what = "a folder" if entry.is_dir() else "no regular file, or a link to none"
                raise InvalidValue(f"'{entry}' is {what}; take it out, or name it otherwise", ("path",))
            images.append(entry)
        elif entry.is_dir():
            subfolders.append(entry)
        else:
            left_out[IN, _kind(entry)] += 1
    deeper = []
    for file in _files_below(subfolders):
        if _is_image(file.name) and not file.name.startswith("."):
            deeper.append(str(file.relative_to(folder)))
        else:
            left_out[BELOW, _kind(file)] += 1
    if deeper:
        raise InvalidValue(
            f"'{folder}' holds {_count(deeper)} in subfolders, and a class's images lie in its own folder; "
            "move them up or away, or let 'path' be the folder above the classes",
            ("path",),
        )
    if not images:
        others = f"; it holds {_kinds(left_out)}" if left_out else ""
        raise InvalidValue(f"'{folder}' holds no images ({join_words(SUFFIXES)}){others}", ("path",))
    return images, left_out


def _files_below(subfolders: Sequence[Path]) -> Iterator[Path]:
    """What some folders and those below them hold; links and hidden folders are not entered.

    Raises:
        OSError: One cannot be read.
    """
    folders = list(subfolders)
    for folder in folders:  # and those that are found meanwhile
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
                folders.append(entry)
            else:
                yield entry


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _kind(entry: Path) -> str:
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_symlink() and not entry.exists():
        return "broken link"
    return entry.suffix.lower() or "without suffix"


def _count(names: Sequence[str]) -> str:
    """`3 images (such as 'a.png')`."""
    return f"{len(names):,} image{'s' * (len(names) > 1)} (such as '{names[0]}')"


def _kinds(left_out: LeftOut) -> str:
    """`2 .txt and 1 hidden`; of many kinds the most frequent ones."""
    counts: Counter[str] = Counter()
    for (_, kind), count in left_out.items():
        counts[kind] += count
    shown = counts.most_common(MAXIMUM_KINDS)
    rest = counts.total() - sum(count for _, count in shown)
    words = [f"{count:,} {kind}" for kind, count in shown] + [f"{rest:,} of other suffixes"] * (rest > 0)
    return join_words(words, "and")


def _notes(left_out: LeftOut, classes: Sequence[str], path: str) -> tuple[str, ...]:
    """What was left out, where something was, and which class is which, where their order may surprise."""
    notes = []
    places = {
        place: LeftOut({key: count for key, count in left_out.items() if key[0] == place and count})
        for place in (BESIDE, IN, BELOW)
    }
    words = "; ".join(f"{_kinds(counts)} {place}" for place, counts in places.items() if counts)
    if words:
        notes.append(f"'{path}': left out {words}")
    if all(name.isascii() and name.isdigit() for name in classes):
        in_order = sorted(classes, key=int)
        first = next((n for n, name in enumerate(classes) if name != in_order[n]), None)
        if first is not None:
            notes.append(f"'{path}': classes are sorted as text, so that class {first} is '{classes[first]}'")
    return tuple(notes)


def _read(parts: Sequence[Files], folder: Path, size: int | None, grey: bool) -> tuple[list[Examples], int]:
    """Examples of each part, and how many images of animations are left out."""
    paths = [file for part in parts for files in part for file in files]
    inputs: np.ndarray = np.empty(0)
    later_frames = 0
    for number, file in enumerate(paths):
        pixels, frames = _decode(file, grey)
        later_frames += frames - 1
        image = pixels if size is None else resize_images(pixels[None] / np.float32(255), size)[0]
        if number == 0:
            check_image_memory(len(paths), image.shape, "path" if size is None else "size")
            inputs = np.empty((len(paths), *image.shape), image.dtype)
        elif image.shape != inputs.shape[1:]:
            (height, width), (h, w) = image.shape[:2], inputs.shape[1:3]
            raise InvalidValue(
                f"'{file}' has {width} x {height} pixels, '{paths[0]}' {w} x {h}; give the 'size' that all "
                "are to have",
                ("size",),
            )
        inputs[number] = image
    rows = np.array([_text(file.relative_to(folder).as_posix()) for file in paths])
    examples, start = [], 0
    for part in parts:
        labels = np.repeat(np.arange(len(part)), [len(files) for files in part])
        chosen = slice(start, start + len(labels))
        values = inputs[chosen] if size else divided_by_255(inputs[chosen])
        made = classification_examples(values, labels, len(part))
        examples.append(replace(made, rows=rows[chosen]))
        start += len(labels)
    return examples, later_frames


def _text(name: str) -> str:
    """A name as text that can be written; bytes that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _decode(file: Path, grey: bool) -> tuple[np.ndarray, int]:
    """The pixels of a file's first image, `[H, W]` or `[H, W, 3]`, uint8, and how many images it has. Raises
    InvalidValue."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and about size, which is checked here
            with Image.open(io.BytesIO(files.read_regular_file(file)), formats=list(FORMATS)) as image:
                width, height = image.size
                if width * height > MAXIMUM_PIXELS:
                    raise ValueError(f"it has {width} x {height} pixels, more than {MAXIMUM_PIXELS:,}")
                if image.mode[0] in "IF":
                    raise ValueError("its grey has more than 8 bits; save it with 8")
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("L" if grey else "RGB"))
                return pixels, getattr(image, "n_frames", 1)
    except Exception as error:  # a damaged file can raise anything in Pillow's decoders
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is damaged, or no image" if unknown else " ".join(str(error).split()) or "it is damaged"
        raise InvalidValue(f"'{file}' cannot be read: {reason}", ("path",)) from None
