"""What all tests share: JAX on one CPU thread and strict, the command line in-process, one finished run."""

import getpass
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["PJRT_NPROC"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
# kept between sessions: compiled programs, and the fonts that matplotlib looks up for seconds
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"nnlab-tests-{getpass.getuser()}")
os.environ["MPLCONFIGDIR"] = str(Path(os.environ["XDG_CACHE_HOME"]) / "matplotlib")

import jax
import numpy as np
import pytest
from click.testing import CliRunner

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# as nnlab.device does for a process of its own: a program that was compiled once is not compiled again
jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["XDG_CACHE_HOME"]) / "nnlab" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)

SRC = Path(__file__).parent.parent


def put(file, content):
    """A file that is whole whenever another process looks."""
    if not file.exists() or file.read_bytes() != content:
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


put_image_sets(Path(os.environ["XDG_CACHE_HOME"]) / "nnlab" / "data")

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


def run_nnlab(*arguments):
    """`nnlab ...` in this process: exit_code, stdout, stderr."""
    from nnlab.cli import cli

    result = CliRunner().invoke(cli, [str(word) for word in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def nnlab():
    return run_nnlab


@pytest.fixture
def nnlab_process():
    """`nnlab ...` in a process of its own; keyword arguments go to subprocess.run."""

    def run(*arguments, **options):
        command = [sys.executable, "-m", "nnlab", *map(str, arguments)]
        options = {"capture_output": True, "text": True, "timeout": 120, "check": False} | options
        return subprocess.run(command, **options)

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_text():
    """An experiment that trains in a moment and holds what it expects."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of TINY, its experiment file beside it; not to be changed."""
    home = tmp_path_factory.mktemp("finished")
    (home / "tiny.yaml").write_text(TINY)
    result = run_nnlab("train", home / "tiny.yaml", "--out", home / "run", "--quiet")
    assert result.exit_code == 0, result.stderr
    return home / "run"


@pytest.fixture(scope="session")
def marked():
    """Text without its § signs, and the line:column of each."""

    def split(text):
        plain, places = "", []
        for part in text.split("§")[:-1]:
            plain += part
            places.append(f"{plain.count(chr(10)) + 1}:{len(plain) - plain.rfind(chr(10))}")
        return text.replace("§", ""), places

    return split
