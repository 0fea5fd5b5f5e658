"""First weights that were trained before: read from a run or a safetensors file, and matched by name.

Nothing but safetensors is read: files of other formats, PyTorch's own among them, can run code.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnlab.config import check_tree
from nnlab.config.document import read
from nnlab.config.training_keys import Initialize
from nnlab.errors import InvalidValue, NnlabError
from nnlab.nn.layer import Setup, Shape, Tree, Variable, path_matches
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import Arrays, Checkpoint
from nnlab.system import files
from nnlab.text import join_words, suggestion

MAXIMUM_NAMES = 6  # of a kind, in a message
PYTORCH_NAME = re.compile(r".+\.(weight|bias|running_mean|running_var|(weight|bias)_(ih|hh)_l0(_reverse)?)")
NAMES_IN_PYTORCH = {
    "kernel": "weight",
    "embedding": "weight",
    "bias": "bias",
    "scale": "weight",
    "shift": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}
RECURRENT_IN_PYTORCH = {
    "kernel": "weight_ih_l0",
    "recurrent_kernel": "weight_hh_l0",
    "bias": "bias_ih_l0",
    "recurrent_bias": "bias_hh_l0",
}
PYTORCH_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0)}  # [K, C, F, F] -> [F, F, C, K]
KERNELS = ("kernel", "recurrent_kernel")
PER_INPUT = ("kernel", "scale", "shift", "mean", "variance")  # have a row or value for each input of a layer


class PretrainedWeights(NamedTuple):
    """First weights that take the place of drawn ones.

    Attributes:
        arrays: By path, such as dense_1/kernel.
        report: What came from where, in a line.
    """

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

    def replace_in(self, tree: Tree, prefix: str = "") -> Tree:
        """A tree by layers with these arrays in place of its own.

        Args:
            tree: Arrays by layer.
            prefix: The path of the tree, with a slash at its end.
        """
        return {
            name: self.replace_in(entry, f"{prefix}{name}/")
            if isinstance(entry, Mapping)
            else self.arrays.get(prefix + name, entry)
            for name, entry in tree.items()
        }


NO_PRETRAINED_WEIGHTS = PretrainedWeights({}, "")


class _WantedArray(NamedTuple):
    """An array of the model that is asked for.

    Attributes:
        layer: The path of its layer.
        name: Its name in the layer.
        variable: Its shape and initializer.
        flattened: The shape, channels last, of the images or signals that its layer takes as one axis; empty
            where it takes something else.
        siblings: The names of all arrays of its layer.
    """

    layer: str
    name: str
    variable: Variable
    flattened: Shape = ()
    siblings: Collection[str] = ()

    @property
    def path(self) -> str:
        return f"{self.layer}/{self.name}"

    def names_in_pytorch(self, module: str) -> list[str]:
        """The arrays of a PyTorch module whose sum it is: where nnlab has one bias, PyTorch may have two."""
        if "recurrent_kernel" not in self.siblings:
            return [f"{module}.{NAMES_IN_PYTORCH.get(self.name, self.name)}"]
        direction = "_reverse" if self.layer.endswith("/backward") else ""
        names = [RECURRENT_IN_PYTORCH[self.name]]
        if self.name == "bias" and "recurrent_bias" not in self.siblings:
            names.append(RECURRENT_IN_PYTORCH["recurrent_bias"])
        return [f"{module}.{name}{direction}" for name in names]


def load_pretrained(initialize: Initialize, setup: Setup, input_shape: Shape) -> PretrainedWeights:
    """The first weights that a model takes over.

    Args:
        initialize: The section of the file.
        setup: The model's.
        input_shape: Of one example.

    Raises:
        InvalidValue: An array that is asked for is missing or does not fit; the message names all of them.
    """
    try:
        source = read_arrays(initialize.from_)
    except InvalidValue as error:
        raise InvalidValue(str(error), ("from",)) from None
    wanted_arrays = _wanted_arrays(initialize, setup, input_shape)
    pytorch = [name for name in source if PYTORCH_NAME.fullmatch(name)]
    if pytorch and not initialize.names:
        raise InvalidValue(
            f"'{initialize.from_}' is of PyTorch ({_some(sorted(source))}); say which of its modules a layer "
            f"is: {{{wanted_arrays[0].layer}: {_likely_module(source, wanted_arrays[0], pytorch)}}}",
            ("names",),
        )
    arrays: dict[str, np.ndarray] = {}
    used, missing, unfit = set(), [], []
    for wanted in wanted_arrays:
        module = initialize.names_in_file.get(wanted.layer, wanted.layer)
        names = wanted.names_in_pytorch(module) if pytorch else [f"{module}/{wanted.name}"]
        absent = [name for name in names if name not in source]
        if absent:
            missing.append(wanted.path if absent == [wanted.path] else f"{wanted.path} ({absent[0]})")
            continue
        used.update(names)
        array = _from_pytorch(source, names, wanted) if pytorch else source[names[0]]
        if array.dtype.kind != "f":
            unfit.append(f"{wanted.path} ({array.dtype} there)")
        elif array.shape != wanted.variable.shape:
            unfit.append(f"{wanted.path} ({list(array.shape)} there, {list(wanted.variable.shape)} here)")
        else:
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
                arrays[wanted.path] = np.ascontiguousarray(array, np.float32)
    unused = sorted(source.keys() - used)
    _check(initialize.from_, arrays, missing, unfit, unused)
    return PretrainedWeights(arrays, _report(initialize.from_, arrays, setup, unused))


def _check(source: str, arrays: Arrays, missing: list[str], unfit: list[str], unused: list[str]) -> None:
    """Every array that is asked for must be there, fit and be finite. Raises InvalidValue."""
    if not missing and not unfit:
        bad = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        if bad:
            raise InvalidValue(f"'{source}': {bad[0]} is not finite", ("from",))
        return
    parts = [f"{len(arrays)} of {len(arrays) + len(missing) + len(unfit)} arrays match"]
    parts += [f"do not fit: {_some(unfit)}"] if unfit else []
    parts += [f"not there: {_some(missing)}"] if missing else []
    parts += [f"of no use here: {_some(unused)}"] if unused else []
    if missing:
        parts.append("let `layers` name those that it has, `names` say what they are called there")
    elif any(" (int" in words or " (uint" in words for words in unfit):
        parts.append("save the weights as floating-point numbers")
    else:
        parts.append("let the model have the shapes that are there, or `layers` name those that fit")
    raise InvalidValue(f"'{source}': {'; '.join(parts)}", ("from",))


def _report(source: str, arrays: Arrays, setup: Setup, unused: list[str]) -> str:
    layers = list(dict.fromkeys(path.rpartition("/")[0] for path in arrays))
    initialized = [path for path, leaf in setup.leaves() if leaf.params and path not in layers]
    words = f"first weights from {source}: {len(arrays)} arrays, of {_some(layers)}"
    words += f"; drawn: {_some(initialized)}" if initialized else ""
    return words + (f"; of no use here: {_some(unused)}" if unused else "")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAXIMUM_NAMES} more" if len(names) > MAXIMUM_NAMES else ""
    return ", ".join(names[:MAXIMUM_NAMES]) + more


def _wanted_arrays(initialize: Initialize, setup: Setup, input_shape: Shape) -> list[_WantedArray]:
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
    wanted: list[_WantedArray] = []
    shape, convolved = input_shape, False
    flattened: Shape = ()
    for path, leaf in leaves:
        if len(leaf.output_shape) == 1 < len(shape) and leaf.output_shape[0] == math.prod(shape):
            flattened = shape if len(shape) > 2 or convolved else ()  # else [H, W], whose order is the same
        if path in asked:
            variables = {**leaf.params, **leaf.state}
            wanted += [_WantedArray(path, *named, flattened, variables) for named in variables.items()]
        if "kernel" in leaf.params:
            flattened = ()
        convolved = convolved or leaf.type == "conv1d"
        shape = leaf.output_shape
    return wanted


def _no_layer(name: str, known: list[str], at: tuple[str | int, ...]) -> InvalidValue:
    near = suggestion(name, known) or ";"
    return InvalidValue(
        f"'{name}' is no layer that takes weights over{near} there are {join_words(known)}", at
    )


def _likely_module(source: Arrays, wanted: _WantedArray, names: list[str]) -> str:
    """The first module, by name or number, that holds an array of the shape that is wanted."""
    by_number = functools.partial(re.sub, r"\d+", lambda digits: digits[0].zfill(9))
    modules = sorted({name.rpartition(".")[0] for name in names}, key=by_number)
    for module in modules:
        parts = wanted.names_in_pytorch(module)
        fits = all(name in source for name in parts)
        if fits and _from_pytorch(source, parts, wanted).shape == wanted.variable.shape:
            return module
    return modules[0]


def _from_pytorch(source: Arrays, names: list[str], wanted: _WantedArray) -> np.ndarray:
    """An array in nnlab's layout, the sum of those that PyTorch has.

    Where its layer takes flattened images, PyTorch flattened them channels first; the rows or values per
    input are reordered to channels last.
    """
    array, *others = (source[name] for name in names)
    for other in others:
        array = array + other if array.shape == other.shape else array
    if wanted.name in KERNELS and array.ndim in PYTORCH_AXES:
        array = array.transpose(PYTORCH_AXES[array.ndim])
    if wanted.flattened and wanted.name in PER_INPUT and array.shape == wanted.variable.shape:
        *places, channels = wanted.flattened
        rows = array.reshape(channels, *places, -1)
        return np.moveaxis(rows, 0, -2).reshape(array.shape)
    return array


def read_arrays(source: str, group: str | None = None) -> Arrays:
    """The arrays of a run or a file.

    Args:
        source: The directory or the file.
        group: Of a run, which of its arrays; None is the weights that it returned.

    Raises:
        InvalidValue: They cannot be had.
    """
    try:
        path = Path(source).expanduser()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError, RuntimeError):
        exists = is_folder = False
    if not exists:
        raise InvalidValue(
            f"there is no '{source}' (relative paths start at the working directory); a run is made by "
            "`nnlab train`, and by `--out` under this name"
        )
    try:
        return weights_of_run(path, group) if is_folder else _weights_of_file(path)
    except NnlabError as error:
        raise InvalidValue(str(error).partition("\n")[0]) from None


def weights_of_run(path: Path, group: str | None = None) -> Arrays:
    """The weights that a finished run returned, by path of the array.

    Args:
        path: The run's directory.
        group: Other arrays of its last checkpoint.

    Raises:
        InvalidValue: It has none.
    """
    if (path / "sweep.yaml").exists():
        raise InvalidValue(f"'{path}' is a sweep; name one of the runs under its trials/")
    if not (path / "config.yaml").exists():
        raise InvalidValue(f"'{path}' is no run directory: it has no config.yaml")
    plan = check_tree(read(path / "config.yaml")).build()
    if plan.train is None:
        raise InvalidValue(f"'{path}' was solved for; such a run keeps no weights")
    averages = plan.optimizer.average is not None
    restores = any(stop.restores for stop in plan.train.stop)
    wanted = group or ("best" if restores else "average" if averages else "weights")

    def lack(checkpoint: Checkpoint) -> str:
        return "" if wanted in checkpoint.groups else f"it has no {group or f'{wanted} weights'}"

    rejected: list[str] = []
    newest = checkpoints.newest(path / "checkpoints", None, lack, rejected.append)
    if newest is None:
        why = f": {rejected[0]}" if rejected else ""
        what = f"a {group}" if group else "weights"
        raise InvalidValue(f"'{path}' has no checkpoint to take {what} from{why}; train it to its end")
    if not newest.meta.done:
        kept = f"{path}/checkpoints/step-{newest.meta.step:010d}/{wanted}.safetensors"
        raise InvalidValue(
            f"'{path}' has come to step {newest.meta.step} and not to its end; train it on, or name {kept} "
            "to take it as it is"
        )
    return newest.arrays()[wanted]


def _weights_of_file(path: Path) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(files.read_regular_file(path))
    except OSError as error:
        raise InvalidValue(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise InvalidValue(
            f"'{path}' holds no safetensors that NumPy can take ({error}); of PyTorch, save a model with "
            "safetensors.torch.save_file(model.float().state_dict(), FILE)"
        ) from None
