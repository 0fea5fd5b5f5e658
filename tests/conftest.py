"""What all tests share: JAX on one CPU thread and strict, a quick compiler, the command line in-process."""

import ctypes
import gc
import getpass
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["PJRT_NPROC"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile far more than they compute: without most optimizations that takes a sixth of the time. The
# processes that tests start inherit this, so that an experiment has the same bytes in all of them.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# PyTorch, the reference of many, would wait on threads for arrays of a few numbers
os.environ["OMP_NUM_THREADS"] = "1"
# kept between sessions: compiled programs, and the fonts that matplotlib looks up for seconds
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"nnlab-tests-{getpass.getuser()}")
os.environ["MPLCONFIGDIR"] = str(Path(os.environ["XDG_CACHE_HOME"]) / "matplotlib")

import jax
import pytest
from support import TINY, EngineHere, put, put_image_sets, run_nnlab

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# as nnlab.system.device does for a process of its own: a program that was compiled once is not compiled again
jax.config.update("jax_compilation_cache_dir", str(Path(os.environ["XDG_CACHE_HOME"]) / "nnlab" / "xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
jax.devices()  # from here on nnlab leaves these settings as they are

SRC = Path(__file__).parent.parent


put_image_sets(Path(os.environ["XDG_CACHE_HOME"]) / "nnlab" / "data")
# figures of a quarter of the points a side, in this process and in those that tests start
put(Path(os.environ["MPLCONFIGDIR"]) / "matplotlibrc", b"savefig.dpi: 40\n")

MEMORY_BYTES, MORE_BYTES = 700_000_000, 300_000_000
memory_limit = MEMORY_BYTES  # of this process, at which the compiled programs that it keeps are given up


# files that take minutes, in which one worker would be left alone at the end
LONGEST = ("test_benchmarks.py", "test_streaming.py", "test_ray.py", "test_sweep.py", "test_commands.py")


def pytest_collection_modifyitems(items):
    """The longest files come first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def bounded_memory():
    """Gives up compiled programs whenever this process has grown; what is freed serves those that follow."""
    global memory_limit
    yield
    if resident_bytes() > memory_limit:
        compilation = sys.modules.get("nnlab.training.compilation")
        if compilation is not None:
            compilation._compiled.clear()
        jax.clear_caches()
        gc.collect()
        give_back_freed_memory()
        memory_limit = resident_bytes() + MORE_BYTES


def give_back_freed_memory():
    """Let the C library return to the system what it keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident_bytes():
    """The memory that this process holds now; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


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


@pytest.fixture(scope="module")
def sweeps_here():
    """Sweeps of this module run their trials in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnlab.sweeps.sweep.WorkerEngine", EngineHere)
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def default_signals():
    """Signals as in a terminal, however the tests were started: nohup ignores SIGHUP, a shell's & SIGINT."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
