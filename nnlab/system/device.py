"""Where programs run: platform, threads and compilation cache, chosen before JAX starts.

On CPU, results depend on the size of XLA's thread pool, so it is fixed by the experiment and recorded: one
thread for small steps, which is the fastest for them, and one more for every so many operations, up to all
cores. PJRT_NPROC overrides it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import os
import platform as machine
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal, TypedDict

from nnlab.errors import UsageError
from nnlab.system.process import Process

# floating-point operations of a step for each thread, at least: with fewer, threads that wait for one another
# lose what they gain (docs/performance.md)
FLOPS_PER_THREAD = 2.5e7
JOIN_TIMEOUT_SECONDS = 300  # for all processes of a training to be there
HEARTBEAT_TIMEOUT_SECONDS = 20  # after which a process that is not heard of is given up
DEVICE_FILES = Path("/dev")
DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"


def configure(
    platform: str = "auto",
    step_flops: float = 0.0,
    threads: int | None = None,
    deterministic: bool = False,
) -> None:
    """Choose platform and threads for this process; without effect once JAX has started its backend.

    Args:
        platform: `auto`, or a platform of JAX: `cpu`, `gpu`, `tpu`.
        step_flops: Floating-point operations of one training step.
        threads: The threads of XLA on CPU; None leaves them to PJRT_NPROC or, without it, to `step_flops`.
        deterministic: Whether a GPU is to compute the same bits each time.

    Raises:
        UsageError: JAX finds no such platform, a number of threads is no whole number >= 1, `threads` is
            another one than PJRT_NPROC or than JAX has started with, or JAX has started on a GPU that is not
            deterministic.
    """
    if deterministic:
        _set_deterministic(platform)
    if threads is not None and threads < 1:
        raise UsageError(f"--threads {threads}: must be at least 1")
    if _backend_is_started():
        if threads not in (None, _started_threads()):
            raise UsageError(
                f"--threads {threads}: JAX has started with {_started_threads()} in this process, and keeps "
                "them; begin another process"
            )
        return
    given = os.environ.get("PJRT_NPROC")
    if given is not None and (not given.isdecimal() or int(given) < 1):
        raise UsageError(f"PJRT_NPROC: '{given}' is no whole number >= 1")
    if given is None:
        os.environ["PJRT_NPROC"] = str(threads or thread_count(step_flops))
    elif threads not in (None, int(given)):
        raise UsageError(f"--threads {threads}: PJRT_NPROC is {given}; leave one of the two out")
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = platform
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides XLA's notices, not its errors
    import jax

    if platform != "auto":  # JAX reads the variable when it is imported, which a plug-in may have done
        jax.config.update("jax_platforms", platform)
    try:
        jax.devices()
    except RuntimeError:
        raise UsageError(
            f"--platform {platform}: JAX finds no such device here; `nnlab info` shows what it finds"
        ) from None
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def join(process: str) -> None:
    """Make this process one of several that compute together, before JAX starts; returns when all are there.

    Args:
        process: Which of them it is, see `Process.of`.

    Raises:
        UsageError: That is not what `process` says, JAX has started, or the others do not come.
    """
    this = Process.of(process)
    if _backend_is_started():
        raise UsageError(f"--process {process}: JAX has started alone in this process; begin another one")
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from the training
    jax.config.update("jax_enable_recoverability", True)  # else the end of one aborts the others
    try:
        jax.distributed.initialize(
            this.address,
            this.total,
            this.number,
            initialization_timeout=JOIN_TIMEOUT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
            coordinator_bind_address=this.address,
        )
    except RuntimeError as error:
        raise UsageError(f"--process {process}: {' '.join(str(error).split())}") from None


def thread_count(step_flops: float) -> int:
    """The threads for a training alone on this machine.

    Args:
        step_flops: Floating-point operations of one step.
    """
    return max(1, min(core_count(), int(step_flops / FLOPS_PER_THREAD)))


def _set_deterministic(platform: str) -> None:
    """Ask XLA for the same bits each time on a GPU; a CPU and a TPU give them anyway. Raises UsageError."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    if DETERMINISTIC_FLAG in flags or platform == "tpu" or not has_accelerator(platform):
        return
    if _backend_is_started():
        raise UsageError(
            f"--deterministic: JAX has started without {DETERMINISTIC_FLAG} in this process; begin another "
            "process"
        )
    os.environ["XLA_FLAGS"] = " ".join([*flags, DETERMINISTIC_FLAG])


def _backend_is_started() -> bool:
    """Whether JAX has settled platform and threads, as it does at its first computation."""
    xla_bridge = sys.modules.get("jax._src.xla_bridge")
    return xla_bridge is not None and xla_bridge.backends_are_initialized()


def _started_threads() -> int:
    """The threads of XLA's pool on CPU, once it has started."""
    return int(os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or core_count())


def has_accelerator(platform: str = "auto") -> bool:
    """Whether programs will run on a GPU or TPU, as far as can be told without starting it."""
    if platform != "auto" or "JAX_PLATFORMS" in os.environ:
        return (platform if platform != "auto" else os.environ["JAX_PLATFORMS"]) not in ("cpu", "")
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "libtpu")
    return any(importlib.util.find_spec(name) is not None for name in plugins)


def visible_gpus(platform: str = "auto") -> list[str]:
    """The NVIDIA GPUs that a process here would see, by their names in CUDA_VISIBLE_DEVICES."""
    if platform == "tpu" or not has_accelerator(platform):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(number) for number, _ in enumerate(DEVICE_FILES.glob("nvidia[0-9]*"))]
    names = [name.strip() for name in given.split(",")]
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))  # as CUDA reads it


def grouped_gpus(gpus: Sequence[str], size: int | Literal["all"]) -> list[str]:
    """GPUs in groups, for trainings that need so many of them; each as CUDA_VISIBLE_DEVICES names them. Those
    of an incomplete group are left out, unless there is no other."""
    if not gpus:
        return []
    count = len(gpus) if size == "all" else min(size, len(gpus))
    return [",".join(gpus[first : first + count]) for first in range(0, len(gpus) - count + 1, count)]


def share_of_gpus(gpus: Sequence[str], worker: int, workers: int) -> dict[str, str]:
    """The environment variable by which one of several workers sees its GPUs: an equal share of them, or one
    that it has in common with others where there are more workers.

    Args:
        gpus: All of them, see `visible_gpus`.
        worker: The number of the worker, from 0.
        workers: How many there are.
    """
    if not gpus:
        return {}
    first, end = (number * len(gpus) // workers for number in (worker, worker + 1))
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[first : max(end, first + 1)])}


def worker_count(platform: str = "auto") -> int:
    """How many processes train side by side: one a GPU, one on another accelerator, else one a core."""
    return len(visible_gpus(platform)) or (1 if has_accelerator(platform) else core_count())


def is_cpu() -> bool:
    """Whether programs run on the CPU."""
    import jax

    return jax.default_backend() == "cpu"


def memory_limit_bytes() -> int | None:
    """The accelerator's memory for this process, in bytes; None on CPU, or where it is unknown."""
    import jax

    stats = None if is_cpu() else jax.local_devices()[0].memory_stats()
    return stats.get("bytes_limit") if stats else None


def total_memory_bytes() -> int | None:
    """That of all accelerators that this process sees."""
    import jax

    limit = memory_limit_bytes()
    return None if limit is None else limit * jax.local_device_count()


def core_count() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """The folder in which compiled programs and fetched data are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnlab"


class Environment(TypedDict):
    """What results may depend on besides the experiment, as environment.json has it."""

    python: str
    system: str
    versions: dict[str, str]
    platform: str
    devices: list[str]
    processor: str
    settings: dict[str, str]
    cores: int
    threads: int


@functools.cache
def environment() -> Environment:
    """Versions, devices and threads, for environment.json and `nnlab info`."""
    import jax

    packages = ("nnlab", "jax", "jaxlib", "optax", "numpy", "pandas", "scikit-learn", "matplotlib")
    return {
        "python": machine.python_version(),
        "system": f"{machine.system()} {machine.machine()}",
        "versions": {name: metadata.version(name) for name in packages},
        "platform": jax.default_backend(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "processor": _processor(),
        "settings": {name: os.environ[name] for name in sorted(os.environ) if _is_setting(name)},
        "cores": core_count(),
        "threads": _started_threads(),
    }


def settings() -> dict[str, str]:
    """The environment variables by which JAX, XLA and nnlab go, for a process elsewhere to work alike."""
    prefixes = ("JAX_", "XLA_", "NNLAB_", "XDG_CACHE_HOME")
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def _is_setting(name: str) -> bool:
    """Whether an environment variable may change what is compiled."""
    locations = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")  # the platform is recorded by itself
    return name == "XLA_FLAGS" or (name.startswith("JAX_") and name not in locations)


def _processor() -> str:
    """The processor's model and a hash of its features, for which XLA compiles; else the machine's type."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    info = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    features = hashlib.sha256(info.get("flags", "").encode()).hexdigest()[:8]
    name = info.get("model name")
    return f"{name} ({features})" if name else machine.processor() or machine.machine()
