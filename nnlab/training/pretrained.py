"""First weights that were trained before: read from a run or a safetensors file, and matched by name.

Nothing but safetensors is read: files of other formats, PyTorch's own among them, can run code.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnlab.config import check_tree
from nnlab.config.document import read
from nnlab.config.training_keys import Initialize
from nnlab.errors import InvalidValue, NnlabError
from nnlab.nn.layer import Setup, Shape, Variable, path_matches
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Checkpoint
from nnlab.system import files
from nnlab.text import join_words, suggestion

Arrays = Mapping[str, np.ndarray]  # by name

SHOWN = 6  # names of a kind, in a message
OF_PYTORCH = re.compile(r".+\.(weight|bias|running_mean|running_var)")
PYTORCH_NAMES = {
    "kernel": "weight",
    "embedding": "weight",
    "bias": "bias",
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
PYTORCH_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0)}  # [K, C, F, F] -> [F, F, C, K]
BY_INPUT = ("kernel", "scale", "shift", "mean", "variance")  # have a row or value for each input of a layer


class PretrainedWeights(NamedTuple):
    """arrays: those that take the place of drawn ones, by path: dense_1/kernel. report: what came from where,
    in a line."""

    arrays: Arrays
    report: str

    @property
    def hash(self) -> str:
        """SHA-256 over names and values."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def replace_in(self, tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """A tree by layers with these arrays in the place of its own."""
        return {
            name: self.replace_in(entry, f"{prefix}{name}/")
            if isinstance(entry, Mapping)
            else self.arrays.get(prefix + name, entry)
            for name, entry in tree.items()
        }


NO_PRETRAINED_WEIGHTS = PretrainedWeights({}, "")


class Wanted(NamedTuple):
    """An array of the model that is asked for. flattened: the shape, channels last, of the images or signals
    that its layer takes as one axis; none where it takes something else."""

    layer: str
    name: str
    variable: Variable
    flattened: Shape = ()

    @property
    def path(self) -> str:
        return f"{self.layer}/{self.name}"


def load_pretrained(initialize: Initialize, setup: Setup, input_shape: Shape) -> PretrainedWeights:
    """The first weights that a model takes over. Raises InvalidValue, which says of each array that is
    asked for what is wrong with it."""
    there = _read(initialize.from_)
    wanted = _wanted(initialize, setup, input_shape)
    pytorch = [name for name in there if OF_PYTORCH.fullmatch(name)]
    if pytorch and not initialize.names:
        raise InvalidValue(
            f"'{initialize.from_}' is of PyTorch ({_some(sorted(there))}); say which of its modules a layer "
            f"is: {{{wanted[0].layer}: {pytorch[0].rpartition('.')[0]}}}",
            ("names",),
        )
    found: dict[str, np.ndarray] = {}
    used, missing, unfit = set(), [], []
    for want in wanted:
        module = initialize.names_in_file.get(want.layer, want.layer)
        name = f"{module}.{PYTORCH_NAMES.get(want.name, want.name)}" if pytorch else f"{module}/{want.name}"
        array = there.get(name)
        if array is None:
            missing.append(want.path if name == want.path else f"{want.path} ({name})")
            continue
        used.add(name)
        array = _turned(array, want) if pytorch else array
        if array.dtype.kind != "f":
            unfit.append(f"{want.path} ({array.dtype} there)")
        elif array.shape != want.variable.shape:
            unfit.append(f"{want.path} ({list(array.shape)} there, {list(want.variable.shape)} here)")
        else:
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
                found[want.path] = np.ascontiguousarray(array, np.float32)
    unused = sorted(there.keys() - used)
    _check(initialize.from_, found, missing, unfit, unused)
    return PretrainedWeights(found, _report(initialize.from_, found, setup, unused))


def _check(source: str, found: Arrays, missing: list[str], unfit: list[str], unused: list[str]) -> None:
    """Every array that is asked for must be there, fit and be finite. Raises InvalidValue."""
    if not missing and not unfit:
        bad = [name for name, array in found.items() if not np.isfinite(array).all()]
        if bad:
            raise InvalidValue(f"'{source}': {bad[0]} is not finite", ("from",))
        return
    parts = [f"{len(found)} of {len(found) + len(missing) + len(unfit)} arrays match"]
    parts += [f"do not fit: {_some(unfit)}"] if unfit else []
    parts += [f"not there: {_some(missing)}"] if missing else []
    parts += [f"of no use here: {_some(unused)}"] if unused else []
    raise InvalidValue(
        f"'{source}': {'; '.join(parts)}; let `layers` name those that it has, `names` say what they are "
        "called there",
        ("from",),
    )


def _report(source: str, found: Arrays, setup: Setup, unused: list[str]) -> str:
    layers = list(dict.fromkeys(path.rpartition("/")[0] for path in found))
    drawn = [path for path, leaf in setup.leaves() if leaf.params and path not in layers]
    words = f"first weights from {source}: {len(found)} arrays, of {_some(layers)}"
    words += f"; drawn: {_some(drawn)}" if drawn else ""
    return words + (f"; of no use here: {_some(unused)}" if unused else "")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _wanted(initialize: Initialize, setup: Setup, input_shape: Shape) -> list[Wanted]:
    """The arrays of the layers that are asked for, in the order of the data."""
    leaves = list(setup.leaves())
    with_arrays = [path for path, leaf in leaves if leaf.params or leaf.state]
    for place, pattern in enumerate(initialize.patterns or ()):
        if not any(path_matches(path, [pattern]) for path in with_arrays):
            raise _no_layer(pattern, with_arrays, ("layers", place))
    asked = [
        path for path in with_arrays if initialize.patterns is None or path_matches(path, initialize.patterns)
    ]
    for name in initialize.names:
        if name not in asked:
            raise _no_layer(name, asked, ("names", name))
    found: list[Wanted] = []
    shape, convolved = input_shape, False
    flattened: Shape = ()
    for path, leaf in leaves:
        if len(leaf.output_shape) == 1 < len(shape) and leaf.output_shape[0] == math.prod(shape):
            flattened = shape if len(shape) > 2 or convolved else ()  # else [H, W], whose order is the same
        if path in asked:
            found += [Wanted(path, *named, flattened) for named in {**leaf.params, **leaf.state}.items()]
        if "kernel" in leaf.params:
            flattened = ()
        convolved = convolved or leaf.type == "conv1d"
        shape = leaf.output_shape
    return found


def _no_layer(name: str, known: list[str], at: tuple[str | int, ...]) -> InvalidValue:
    near = suggestion(name, known) or ";"
    return InvalidValue(
        f"'{name}' is no layer that takes weights over{near} there are {join_words(known)}", at
    )


def _turned(array: np.ndarray, want: Wanted) -> np.ndarray:
    """An array of PyTorch's in nnlab's layout. Where images were flattened before it, PyTorch's were channels
    first, and what it has for each input is put into the order of channels last."""
    if want.name == "kernel" and array.ndim in PYTORCH_AXES:
        array = array.transpose(PYTORCH_AXES[array.ndim])
    if want.flattened and want.name in BY_INPUT and array.shape == want.variable.shape:
        *places, channels = want.flattened
        rows = array.reshape(channels, *places, -1)
        return np.moveaxis(rows, 0, -2).reshape(array.shape)
    return array


def _read(source: str) -> Arrays:
    """The arrays of a run or a file. Raises InvalidValue."""
    try:
        place = Path(source).expanduser()
        there, folder = place.exists(), place.is_dir()
    except (OSError, ValueError, RuntimeError):
        there = folder = False
    if not there:
        raise InvalidValue(
            f"there is no '{source}' (relative paths start at the working directory); a run is made by "
            "`nnlab train`, and by `--out` under this name",
            ("from",),
        )
    try:
        return weights_of_run(place) if folder else _of_file(place)
    except NnlabError as error:
        raise InvalidValue(str(error).partition("\n")[0], ("from",)) from None
    except InvalidValue as error:
        raise InvalidValue(str(error), ("from",)) from None


def weights_of_run(place: Path) -> Arrays:
    """The weights that came out of a finished run, by path. Raises InvalidValue where there are none."""
    if (place / "sweep.yaml").exists():
        raise InvalidValue(f"'{place}' is a sweep; name one of the runs under its trials/")
    if not (place / "config.yaml").exists():
        raise InvalidValue(f"'{place}' is no run directory: it has no config.yaml")
    training = check_tree(read(place / "config.yaml")).build().train
    if training is None:
        raise InvalidValue(f"'{place}' was solved for; such a run keeps no weights")
    group = "best" if any(stop.restores for stop in training.stop) else "weights"

    def fits(checkpoint: Checkpoint) -> str:
        return "" if group in checkpoint.arrays() else f"it has no {group} weights"

    passed: list[str] = []
    newest = checkpoints.newest(place / "checkpoints", None, fits, passed.append)
    if newest is None:
        why = f": {passed[0]}" if passed else ""
        raise InvalidValue(f"'{place}' has no checkpoint to take weights from{why}; train it to its end")
    if not newest.facts.done:
        kept = f"{place}/checkpoints/step-{newest.facts.step:010d}/{group}.safetensors"
        raise InvalidValue(
            f"'{place}' has come to step {newest.facts.step} and not to its end; train it on, or name {kept} "
            "for its weights as they are"
        )
    return newest.arrays()[group]


def _of_file(place: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(files.read_regular_file(place))
    except OSError as error:
        raise InvalidValue(f"'{place}' cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise InvalidValue(
            f"'{place}' holds no safetensors that NumPy can take ({error}); of PyTorch, save a model with "
            "safetensors.torch.save_file(model.float().state_dict(), FILE)"
        ) from None
