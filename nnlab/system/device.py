"""Where programs run: platform, threads and compilation cache, settled before JAX is first imported.

On CPU the numbers depend on the size of XLA's thread pool, so it is fixed and recorded: one thread for small
models, which is also the fastest for them, all cores from 2 GFLOP a step on. Setting PJRT_NPROC overrides.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform as machine
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from nnlab.errors import UsageError

MULTITHREADED_STEP_FLOPS = 2e9  # floating-point operations


def configure(platform: str = "auto", step_flops: float = 0.0) -> None:
    """Settle platform and threads for this process; without effect once JAX is imported."""
    if "jax" in sys.modules:
        return
    if platform != "auto":
        os.environ["JAX_PLATFORMS"] = platform
    threads = os.environ.setdefault(
        "PJRT_NPROC", str(core_count() if step_flops > MULTITHREADED_STEP_FLOPS else 1)
    )
    if not threads.isdecimal() or int(threads) < 1:
        raise UsageError(f"PJRT_NPROC: '{threads}' is no whole number >= 1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's notices; errors still come through
    import jax

    try:
        jax.devices()
    except RuntimeError:
        raise UsageError(
            f"--platform {platform}: JAX finds no such device here; `nnlab info` shows what it finds"
        ) from None
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def has_accelerator(platform: str = "auto") -> bool:
    """Whether programs will run on a GPU or TPU, as far as can be said without waking it."""
    if platform != "auto" or "JAX_PLATFORMS" in os.environ:
        return (platform if platform != "auto" else os.environ["JAX_PLATFORMS"]) not in ("cpu", "")
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin", "jax_rocm7_plugin", "libtpu")
    return any(importlib.util.find_spec(name) is not None for name in plugins)


def is_cpu() -> bool:
    """Whether programs run on the CPU."""
    import jax

    return jax.default_backend() == "cpu"


def memory_limit_bytes() -> int | None:
    """Bytes that the accelerator lends to this process; None on CPU, or where it does not say."""
    import jax

    found = None if is_cpu() else jax.devices()[0].memory_stats()
    return found.get("bytes_limit") if found else None


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cache_folder() -> Path:
    """Where compiled programs and fetched data are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnlab"


@functools.cache
def environment() -> dict[str, Any]:
    """Versions, device and threads, for environment.json and `nnlab info`."""
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
        "threads": int(os.environ.get("PJRT_NPROC") or os.environ.get("NPROC") or core_count()),
    }


def _is_setting(name: str) -> bool:
    """Whether a variable of the environment may change what is compiled."""
    elsewhere = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")  # where it runs is recorded by itself
    return name == "XLA_FLAGS" or (name.startswith("JAX_") and name not in elsewhere)


def _processor() -> str:
    """The processor's model, for which XLA compiles, and the hash of what it can do; the machine's kind where
    it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    abilities = hashlib.sha256(found.get("flags", "").encode()).hexdigest()[:8]
    name = found.get("model name")
    return f"{name} ({abilities})" if name else machine.processor() or machine.machine()
