"""The classes of a data set: which are kept, which have no example, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnlab.data.examples import Examples, Loaded
from nnlab.errors import InvalidValue
from nnlab.text import join_words, suggestion

MAXIMUM_LISTED = 5  # classes in a message
MAXIMUM_KEPT = 60  # classes in one that can be copied into a file


def class_title(examples: Examples, number: int) -> str:
    """`class 3`, or `class 3 ('spam')` where classes have names."""
    return f"class {number}" + (f" ('{examples.class_names[number]:.60}')" if examples.class_names else "")


def select_classes(loaded: Loaded, kept: Sequence[int | str]) -> Loaded:
    """The examples of some classes, which become 0, 1, ... in the order of the list.

    Args:
        loaded: All examples.
        kept: The classes, by number or by name.

    Raises:
        InvalidValue: There is no such class, or one is named twice, or no example is left.
    """
    examples = loaded.examples
    if not examples.classes:
        raise InvalidValue("needs class labels; this data set's targets are values", ("keep_classes",))
    if examples.positions:
        raise InvalidValue("needs one class an example; here is one at every position", ("keep_classes",))
    if not kept:
        raise InvalidValue("is empty; name at least one class, or leave it out", ("keep_classes",))
    chosen: list[int] = []
    for position, given in enumerate(kept):
        try:
            number = class_number(examples, given)
            if number in chosen:
                raise InvalidValue(f"names {class_title(examples, number)} twice; once is enough")
        except InvalidValue as error:
            raise InvalidValue(str(error), ("keep_classes", position)) from None
        chosen.append(number)
    new_numbers = np.full(examples.classes, -1, np.int32)
    new_numbers[chosen] = np.arange(len(chosen))

    def select(part: Examples, words: str) -> Examples:
        found = part.take(np.flatnonzero(new_numbers[part.targets] >= 0))
        if not len(found):
            raise InvalidValue(f"there is no {words} of these classes", ("keep_classes",))
        names = tuple(part.class_names[number] for number in chosen) if part.class_names else ()
        return replace(found, targets=new_numbers[found.targets], classes=len(chosen), class_names=names)

    return loaded._replace(
        examples=select(examples, "example"),
        test=loaded.test and select(loaded.test, "test example"),
        validation=loaded.validation and select(loaded.validation, "validation example"),
    )


def class_number(examples: Examples, given: int | str) -> int:
    """The number of a class that is given by number, from 0, or by name. Raises InvalidValue."""
    names = examples.class_names
    if isinstance(given, str):
        if not names:
            raise InvalidValue(f"this data set's classes have no names; they are 0 to {examples.classes - 1}")
        if given not in names:
            listed = [f"'{name:.60}'" for name in names[:MAXIMUM_LISTED]]
            more = ", ..." if len(names) > MAXIMUM_LISTED else ""
            near = suggestion(given, names) or f"; there are {join_words(listed, 'and')}{more}"
            raise InvalidValue(f"there is no class '{given:.60}'{near}")
        return names.index(given)
    if given >= examples.classes:
        last = examples.classes - 1
        raise InvalidValue(f"there is no class {given}; this data set's are 0 to {last}")
    if str(given) in names and names[given] != str(given):
        raise InvalidValue(
            f"class {given} is called '{names[given]:.60}', another one '{given}'; write its name in quotes"
        )
    return given


def check_classes(loaded: Loaded) -> None:
    """Refuse data with nothing to tell apart.

    Raises:
        InvalidValue: All examples are of one class.
    """
    examples = loaded.examples
    if not examples.classes:
        return
    if count_present_classes(_parts(loaded)) == 1:
        title = class_title(examples, int(examples.targets.flat[0]))
        raise InvalidValue(f"all {len(examples):,} examples are of {title}; there is nothing to tell apart")


def target_notes(loaded: Loaded, train: Examples) -> list[str]:
    """What is worth knowing of the targets: classes without examples, values that do not vary.

    Args:
        loaded: All examples.
        train: Those to train on.
    """
    if not train.classes:
        constant = (train.targets == train.targets[0]).all(axis=0) & (len(train) > 1)
        return [
            f"target {column} of all training examples is {train.targets[0, column]:g}"
            for column in np.flatnonzero(constant)[:MAXIMUM_LISTED]
        ]
    if train.positions:
        return []
    parts = _parts(loaded)
    absent = classes_without_examples(parts)
    untrained = np.flatnonzero((_counts(parts) > 0) & (_counts([train]) == 0))
    notes = [absent] if absent else []
    if untrained.size:
        notes.append(f"no training example is of {_listed(train, untrained)}")
    return notes


def count_present_classes(parts: Sequence[Examples]) -> int:
    """How many classes have examples."""
    return int(np.count_nonzero(_counts(parts)))


def classes_without_examples(parts: Sequence[Examples]) -> str:
    """A line that names them, and the remedy; empty where there are none."""
    counts = _counts(parts)
    (absent,) = np.nonzero(counts == 0)
    if not absent.size:
        return ""
    kept = np.flatnonzero(counts).tolist()
    list_of_kept = f": {kept}" if len(kept) <= MAXIMUM_KEPT else ", a list of the others,"
    them = "it" if len(absent) == 1 else "them"
    return f"no example is of {_listed(parts[0], absent)}; keep_classes{list_of_kept} leaves {them} out"


def _listed(examples: Examples, numbers: np.ndarray) -> str:
    """`class 1 or class 3`; of many classes the first few."""
    titles = [class_title(examples, int(number)) for number in numbers[:MAXIMUM_LISTED]]
    more = len(numbers) - MAXIMUM_LISTED
    return join_words([*titles, f"{more} more"] if more > 0 else titles, "or")


def _parts(loaded: Loaded) -> list[Examples]:
    return [part for part in (loaded.examples, loaded.test, loaded.validation) if part is not None]


def _counts(parts: Sequence[Examples]) -> np.ndarray:
    """How many examples each class has, in all parts together."""
    targets = np.concatenate([part.targets.reshape(-1) for part in parts])
    return np.bincount(targets, minlength=parts[0].classes)
