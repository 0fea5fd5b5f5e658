"""Data sets from folders of image files, with a subfolder for each class."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from nnlab.data.datasets.local_files import existing_path
from nnlab.data.datasets.resize import Side, check_image_memory, resize_images
from nnlab.data.examples import Examples, Source, classification_examples
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.system import files
from nnlab.text import join_words

# the formats that Pillow decodes by itself: for others it may start programs
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAXIMUM_PIXELS = 2**26  # of one image; its header says how many before it is decoded


@register("dataset")
def image_folder(path: str, size: Side | None = None, grey: bool = False) -> Source:
    """A folder of image files with a subfolder for each class.

    Files are PNG, JPEG, BMP, GIF, TIFF, WebP or PPM. The subfolders' names, sorted, number the classes. Where
    the subfolders are `train` and `test`, each with the same classes in it, the latter is the data set's own
    test set. Inputs are `[N, H, W, 3]`, or `[N, H, W]` if grey, bytes divided by 255. Transparency is
    dropped, and of an animation the first image is taken.

    Args:
        path: The folder; a relative path starts at the working directory.
        size: The side in pixels, 1 to 4096, that images are resized to, as for `idx`. With null, all images
            must have the same size.
        grey: Whether colours become 0.299 red + 0.587 green + 0.114 blue.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        folder = existing_path(path)
        if not folder.is_dir():
            raise InvalidValue(f"'{path}' is no folder; name the one with a subfolder a class", ("path",))
        names = _subfolders(folder)
        if not {"train", "test"} <= set(names):
            return _read([_files(folder, names)], size, grey)[0], None
        if len(names) > 2:
            other = next(name for name in names if name not in ("train", "test"))
            raise InvalidValue(f"'{path}' holds '{other}' beside train and test; take it out", ("path",))
        classes = _subfolders(folder / "train")
        _check_same_classes(classes, _subfolders(folder / "test"), path)
        parts = [_files(folder / part, classes) for part in ("train", "test")]
        train, test = _read(parts, size, grey)
        return train, test

    return Source(load)


def _subfolders(folder: Path) -> list[str]:
    """The names of the subfolders, sorted; hidden ones do not count."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InvalidValue(f"'{folder}' cannot be read: {error.strerror}", ("path",)) from None


def _check_same_classes(train: list[str], test: list[str], path: str) -> None:
    for name in sorted(set(train) ^ set(test)):
        present, absent = ("train", "test") if name in train else ("test", "train")
        raise InvalidValue(f"'{path}': class '{name}' is in {present}, not in {absent}", ("path",))


def _files(folder: Path, classes: list[str]) -> list[list[Path]]:
    """The image files of each class, sorted by name."""
    if not classes:
        raise InvalidValue(f"'{folder}' has no subfolders; it must hold one a class", ("path",))
    files_of_classes = []
    for name in classes:
        try:
            entries = sorted((folder / name).iterdir())
        except OSError as error:
            raise InvalidValue(f"'{folder / name}' cannot be read: {error.strerror}", ("path",)) from None
        images = [e for e in entries if e.suffix.lower() in SUFFIXES and e.name[0] != "."]
        if not images:
            raise InvalidValue(f"'{folder / name}' holds no images ({join_words(SUFFIXES)})", ("path",))
        files_of_classes.append(images)
    return files_of_classes


def _read(parts: list[list[list[Path]]], size: int | None, grey: bool) -> list[Examples]:
    """Examples of each part. A part has a list of files for each class."""
    paths = [file for part in parts for files in part for file in files]
    images: list[np.ndarray] = []
    for file in paths:
        image = _decode(file, grey)
        if size is not None:
            image = resize_images(image[None] / np.float32(255), size)[0]
        if not images:
            check_image_memory(len(paths), image.shape, "path" if size is None else "size")
        elif image.shape != images[0].shape:
            (height, width), (h, w) = image.shape[:2], images[0].shape[:2]
            raise InvalidValue(
                f"'{file}' has {width} x {height} pixels, '{paths[0]}' {w} x {h}; give the 'size' that all "
                "are to have",
                ("size",),
            )
        images.append(image)
    inputs = np.stack(images) if size is not None else np.stack(images) / np.float32(255)
    examples, start = [], 0
    for part in parts:
        labels = np.repeat(np.arange(len(part)), [len(files) for files in part])
        examples.append(classification_examples(inputs[start : start + len(labels)], labels, len(part)))
        start += len(labels)
    return examples


def _decode(file: Path, grey: bool) -> np.ndarray:
    """The pixels of a file, `[H, W]` or `[H, W, 3]`, uint8. Raises InvalidValue."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and about size, which is checked here
            with Image.open(io.BytesIO(files.read_regular_file(file)), formats=list(FORMATS)) as image:
                width, height = image.size
                if width * height > MAXIMUM_PIXELS:
                    raise ValueError(f"it has {width} x {height} pixels, more than {MAXIMUM_PIXELS:,}")
                if image.mode[0] in "IF":
                    raise ValueError("its grey has more than 8 bits; save it with 8")
                return np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:  # a damaged file can raise anything in Pillow's decoders
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is damaged, or no image" if unknown else " ".join(str(error).split()) or "it is damaged"
        raise InvalidValue(f"'{file}' cannot be read: {reason}", ("path",)) from None
