"""What tests of several packages share."""

import itertools
import os
import re
import struct
import sys
from contextlib import contextmanager
from typing import NamedTuple
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
from click.testing import CliRunner
from matplotlib.colors import to_hex
from matplotlib.text import Text

from nnlab import plotting
from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.resolve import resolve
from nnlab.errors import InvalidValue
from nnlab.registry import build
from nnlab.runs.figures import draw_figure
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.sweeps.engines.base import Event
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train


def put(file, content):
    """A file that is whole whenever another process looks."""
    if not file.exists() or file.read_bytes() != content:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_bytes(content)
        beside.replace(file)


def blobs(count, side, seed):
    """Images `[count, side, side]` of bytes: a bright spot, whose place is the class, on noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.uint8) % 10
    angle = 2 * np.pi * labels / 10
    place = side / 4 * np.stack([np.sin(angle), np.cos(angle)], 1)
    centre = side / 2 + place + random.normal(0, 1, (count, 2))
    away = ((np.arange(side) - centre[..., None]) / (side / 10)) ** 2
    spot = np.exp(-(away[:, 0, :, None] + away[:, 1, None, :]) / 2)
    return (200 * spot + random.uniform(0, 55, spot.shape)).astype(np.uint8), labels


def idx_bytes(array):
    """The content of an IDX file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def put_image_sets(folder):
    """300 images, 100 for test, in the place of each image set that is fetched, as if put there by hand."""
    for name in ("mnist", "fashion_mnist", "cifar10"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("mnist", "fashion_mnist")):
        for stem, count in (("train", 300), ("t10k", 100)):
            images, labels = blobs(count, 28, seed=10 * seed + count)
            put(folder / name / f"{stem}-images-idx3-ubyte", idx_bytes(images))
            put(folder / name / f"{stem}-labels-idx1-ubyte", idx_bytes(labels))
    for number in range(1, 6):
        put_cifar(folder / "cifar10" / f"data_batch_{number}.bin", 60, number)
    put_cifar(folder / "cifar10" / "test_batch.bin", 100, 9)


def put_cifar(file, count, seed):
    planes = [blobs(count, 32, seed=100 + 3 * seed + channel)[0] for channel in range(3)]
    labels = np.arange(count, dtype=np.uint8)[:, None] % 10
    put(file, np.concatenate([labels, *(plane.reshape(count, -1) for plane in planes)], axis=1).tobytes())


TINY = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 2, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
record: {every: {steps: 5}}
phenomena: [gradient_flow]
expect:
  gradient_flow.first_to_last_ratio: {min: 0.0}
  final.train_loss: {max: 100}
"""


class FakeRun(NamedTuple):
    """What a detector sees of a run."""

    tables: dict
    summary: dict
    label: str = "run"
    loss: str = "cross entropy, nats"


class FakeSweep:
    """What a detector sees of a sweep: a row a trial, and tables of the complete ones, in which `trial` is a
    column."""

    label = "sweep"
    loss = "cross entropy, nats"
    summary = {}  # noqa: RUF012 - never changed

    def __init__(self, table, tables=None, axes=()):
        self.trials, self.tables, self.axes = table, tables or {}, list(axes)
        self.completed_trials = table[table["status"] == "complete"] if "status" in table else table

    def joined(self, table):
        if table not in self.tables:
            raise InvalidValue(f"the trials have no table '{table}'")
        return self.tables[table].merge(self.completed_trials[["trial", *self.axes, "seed"]], on="trial")


def run_nnlab(*arguments):
    """`nnlab ...` in this process: exit_code, stdout, stderr."""
    from nnlab.cli.main import cli

    result = CliRunner().invoke(cli, [str(word) for word in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@contextmanager
def fully_optimized():
    """Compiles as experiments do, where the quick compiler's rounding would show."""
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
        jax.clear_caches()


def calls_of(function):
    """How many functions, Python's and C's, are called until `function` returns or raises: its work."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


SIZES = (plotting.TITLE_SIZE, plotting.TEXT_SIZE, plotting.SMALL_SIZE)


def title_of(ax):
    """A panel's title, without the breaks of its lines."""
    return (ax.get_title(loc="left") + ax.get_title()).replace("\n", " ")


def panels_of(figure):
    """The axes that show something, colour bars left out."""
    bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert all(ax.get_ylabel() for ax in bars)
    return [ax for ax in figure.axes if ax not in bars and ax.axison]


def legends_of(figure):
    return [legend for legend in (*figure.legends, *(ax.get_legend() for ax in figure.axes)) if legend]


def assert_labelled(figure, empty=False):
    shown = panels_of(figure)
    assert shown
    title = figure.get_suptitle()
    for ax in shown:
        assert title_of(ax) or title, "every panel says what is seen"
        assert ax.get_xlabel() or not ax.get_subplotspec().is_last_row(), f"no x label on '{title_of(ax)}'"
        spec = ax.get_subplotspec()
        shares = ax.get_shared_y_axes().joined(ax, shown[0]) and ax is not shown[0]
        has_scale = len(ax.get_yticks()) > 0 or ax.images  # else what stands in the panel names its values
        assert ax.get_ylabel() or shares or not spec.is_first_col() or not has_scale, "no y label"
        assert ax.has_data() or empty


def assert_told_apart(figure, names):
    words = " ".join(
        [text.get_text() for legend in legends_of(figure) for text in legend.get_texts()]
        + [title_of(ax) + ax.get_ylabel() for ax in panels_of(figure)]
    )
    assert len(names) < 2 or all(name in words for name in names), "they are told apart"


def assert_readable(figure):
    """In words, in the style's sizes of letters, nothing cut off, and nothing written over another.

    To be called inside the style.
    """
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width == plotting.WIDTH
    drawn = figure.get_tightbbox()
    assert -0.02 < drawn.x0 < drawn.x1 < width + 0.02, "cut off at a side"
    assert -0.02 < drawn.y0 < drawn.y1 < height + 0.02, "cut off above or below"
    for text in figure.findobj(Text):
        words = text.get_text()
        assert not re.search(r"[^\W_]_|[a-z]\.[a-z0-9]", words), f"no words: {words}"
        assert not words or text.get_fontsize() in SIZES, f"{text.get_fontsize()} points: {words}"
    _assert_apart([text for text in _texts_beside_panels(figure) if text.get_text() and text.get_visible()])
    for axis in (axis for ax in panels_of(figure) if ax.name != "3d" for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        labels = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        _assert_apart(
            [one for one in labels if one.get_visible() and one.get_text() and not one.get_rotation()]
        )


def figure_for_people(results, name):
    """A figure as it is shown, of which all of this holds."""
    with plotting.style():
        figure = draw_figure(results, name)
        assert_readable(figure)
    if len(results) == 1:
        assert_splits_in_their_colours(figure)
    return figure


def _texts_beside_panels(figure):
    titles = [ax._left_title if ax._left_title.get_text() else ax.title for ax in figure.axes]
    names = [label for ax in panels_of(figure) for label in (ax.xaxis.label, ax.yaxis.label)]
    return [*figure.texts, *titles, *names]


def _assert_apart(texts):
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for (one, box), (other, beside) in itertools.combinations(boxes, 2):
        across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
        up = min(box.y1, beside.y1) - max(box.y0, beside.y0)
        assert min(across, up) < 1, f"'{one}' over '{other}'"


def assert_splits_in_their_colours(figure):
    """In a figure of one run or sweep."""
    words = {"training": "train", "validation": "validation", "test": "test"}
    for line in (line for ax in figure.axes for line in ax.get_lines()):
        split = words.get(str(line.get_label()).split(" ")[0].split(",")[0])
        if split and line.get_linestyle() != "None" and "≤" not in line.get_label():
            assert to_hex(line.get_color()) == plotting.SPLIT_COLOURS[split].lower(), line.get_label()


def assert_vector(path):
    """An SVG whose text is text, or a PDF whose fonts are in it, as whole letters."""
    if path.suffix == ".pdf":
        content = path.read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        return
    words = [
        "".join(text.itertext()) for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert any(len(word) > 3 and word[0].isalpha() for word in words)


SEED = 7


KEY = jax.random.key(SEED)


def from_config(config):
    """A layer from what would stand in a file."""
    problems = []
    resolved = resolve("layer", config, (), problems)
    assert problems == []
    return build("layer", resolved)


def drawn(shape, seed=0, scale=1.0, shift=0.0):
    return (shift + scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def pulled_back(net, params, state, x, train=True):
    """Output, and gradients of sum(weights * output) by params and inputs, weights being fixed and random."""
    weights = jnp.asarray(drawn((x.shape[0], *net.setup.output_shape), seed=99))

    def total(params, x):
        out = net.apply(params, state, x, key=KEY, train=train)
        return (weights * out.value).sum(), out

    (_, out), grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)
    return out, grads, np.asarray(weights)


def close(found, expected, tolerance=1e-5):
    expected = expected.detach().numpy() if hasattr(expected, "detach") else expected
    np.testing.assert_allclose(np.asarray(found), expected, rtol=tolerance, atol=tolerance)


def load(config, seed=0):
    """The data of what would stand in a file."""
    problems = []
    resolved = resolve("dataset", config, (), problems)
    assert problems == []
    return build("dataset", resolved).load(seed)


class EngineHere:
    """Runs the trials of a sweep in this process, for tests of what a sweep leaves, not of its workers."""

    def __init__(self, folder, launcher, jobs, platform, policy, modules, deterministic, gpus):
        self.folder, self.policy, self.stopping = folder, policy, False

    def run(self, trials):
        while len(trials) and not self.stopping:
            for trial in trials.next_assignment("", None).trials:
                directory = RunDirectory(self.folder / "trials" / trial.id)
                with jax.numpy_dtype_promotion("standard"):  # as in a worker: optax's Adam needs it
                    outcome = run(build_experiment(trial.config), directory, policy=self.policy)
                yield Event(trial, 1.0, outcome.summary["status"])

    def stop(self):
        self.stopping = True

    def kill(self):
        self.stop()

    def close(self):
        """There is nothing to end."""


def experiment_of(tree):
    """The experiment of a file with these keys."""
    return build_experiment(check_tree(Document(tree, {}, {}, "test")))


def tables_of(chunks):
    """The tables of all chunks joined, as they would stand in the files."""
    joined = {}
    for chunk in chunks:
        for name, columns in chunk.tables.items():
            parts = joined.setdefault(name, {column: [] for column in columns})
            assert list(parts) == list(columns)
            for column, values in columns.items():
                parts[column].append(values)
    return {name: {c: np.concatenate(v) for c, v in columns.items()} for name, columns in joined.items()}


def trained(exp):
    chunks = list(train(exp))
    return tables_of(chunks), chunks


def assert_same(first, second):
    """To the last bit."""
    assert first.keys() == second.keys()
    for name, columns in first.items():
        assert columns.keys() == second[name].keys()
        for column, values in columns.items():
            theirs = second[name][column]
            np.testing.assert_array_equal(values, theirs, err_msg=f"{name}.{column}")
            assert values.dtype == theirs.dtype
            assert values.dtype == object or values.tobytes() == theirs.tobytes()


def written(out, last_checkpoints=False):
    """The bytes of every file of a sweep that does not hold a time, by its path.

    last_checkpoints: of each trial the last one alone, as a trial that was taken over has others before it.
    """
    of_times = {".lock", "sweep.log", "train.log", "timing.csv", "environment.json", "manifest.json"}
    kept = [path for path in out.rglob("*") if path.is_file() and path.name not in of_times]
    if last_checkpoints:
        last = {sorted(folder.iterdir())[-1] for folder in out.glob("trials/*/checkpoints")}
        kept = [path for path in kept if "checkpoints" not in path.parts or path.parent in last]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept}
