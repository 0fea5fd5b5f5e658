"""How long a sweep takes from the start of its process to the end, as ratios within one run.

    python benchmarks/sweep_time.py            (make bench installs PyTorch first)
    python benchmarks/sweep_time.py --smoke    (one small training, drawn examples: only whether it works)

The sweep is experiments/double_descent_mnist1d.yaml with 3 seeds: MLPs 40-h-h-10 of 10 widths, 150 epochs,
and all 16,000 examples evaluated at 8 moments. benchmarks/by_hand.py has the same trainings in PyTorch, NumPy
and JAX. Goals: nnlab without a compilation cache <= 0.6 of NumPy and <= 0.25 of PyTorch, on a process a core
each; nnlab with one <= 1.7 x the floor, which is the arithmetic at the speed of nothing but matrix products;
two workers >= 1.8 times as fast as one.

Each contestant is a process of its own, imports included, and uses all cores. The table of test errors shows
that all train the same thing.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from by_hand import (
    CLASSES,
    EXAMPLES,
    FEATURES,
    Ended,
    Setting,
    jax_functions,
    jax_inputs,
    train_numpy,
    train_torch,
)
from race import (
    CORES,
    ONE_THREAD,
    Cost,
    Goal,
    clean_environment,
    goals,
    note_missing,
    print_costs,
    print_goals,
    print_table,
    run_process,
)

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "double_descent_mnist1d.yaml"
WIDTHS = [6, 10, 16, 24, 32, 44, 56, 80, 140, 256]
FULL, SMOKE = Setting(WIDTHS, 3, 150), Setting([6], 1, 1)
COLD, WARM, ONE_WORKER = "nnlab, cold", "nnlab, warm", "nnlab, warm, 1 worker"
TORCH, NUMPY = f"PyTorch, {CORES} processes", f"NumPy, {CORES} processes"
FLOOR = "floor: matrix products"
SIZE, PRODUCTS = 512, 8  # of the matrices that the floor is measured by, products a window


class Raced(NamedTuple):
    """What a contestant took, and what its trainings came to."""

    cost: Cost
    trainings: list[Ended]


class Rate(NamedTuple):
    """Floating-point operations of matrix products: of all cores a second, and a CPU second."""

    wall_clock: float
    cpu: float

    def cost(self, flops: float) -> Cost:
        """What so many operations take."""
        return Cost(flops / self.wall_clock, flops / self.cpu)


# The contestants that are not nnlab


def on_processes(train: Callable[..., Ended]) -> Callable[[Setting, Path], list[Ended]]:
    """A process a core, all of them taking from one queue. Forked before anything is imported."""

    def contestant(setting: Setting, file: Path) -> list[Ended]:
        with get_context("fork").Pool(CORES) as pool:
            work = functools.partial(train, setting, file)
            found = list(pool.imap_unordered(work, setting.trainings, chunksize=1))
            pool.close()
            pool.join()  # so that the CPU seconds of its processes are counted
            return found

    return contestant


def contestant_jax(setting: Setting, file: Path) -> list[Ended]:
    """One process with a thread a core: first every width is compiled, then the trainings run."""
    # A pool of one thread (PJRT_NPROC=1) runs one program at a time, whichever thread calls it. So the pool
    # has a thread a core, and a program may not spread over it.
    os.environ |= {"PJRT_NPROC": str(CORES), "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    import jax
    import numpy as np

    def compiled(width: int) -> Any:
        inputs = jax_inputs(setting, file, (width, 0))
        return jax.jit(jax_functions().train_and_evaluate).lower(*inputs).compile()

    def train(program: Any, training: tuple[int, int]) -> Ended:
        inputs = jax_inputs(setting, file, training)
        seen = np.asarray(program(*inputs))
        return Ended(*training, 1 - float(seen[-1, 3]), len(seen) - 1, int((seen[:, 0] > 0).sum()))

    with ThreadPoolExecutor(CORES) as pool:
        programs = dict(zip(setting.widths, pool.map(compiled, setting.widths), strict=True))
        return list(pool.map(lambda t: train(programs[t[0]], t), setting.trainings))


def product_by(library: str) -> Callable[[], Any]:
    """A function that multiplies two matrices on one thread."""
    if library == "torch":
        import torch

        torch.set_num_threads(1)
        tensors = [torch.ones(SIZE, SIZE) for _ in range(3)]
        return functools.partial(torch.mm, tensors[0], tensors[1], out=tensors[2])
    import numpy as np

    arrays = [np.ones((SIZE, SIZE), np.float32) for _ in range(3)]
    return functools.partial(np.matmul, arrays[0], arrays[1], out=arrays[2])


def multiply(library: str, seconds: float, barrier: Any, rates: Any) -> None:
    """The best rates of products of this core, while all cores do the same."""
    product = product_by(library)
    product()
    barrier.wait()
    best, until = [math.inf, math.inf], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter(), time.process_time()
        for _ in range(PRODUCTS):
            product()
        ended = time.perf_counter(), time.process_time()
        best = [min(b, after - before) for b, before, after in zip(best, began, ended, strict=True)]
    rates.put([PRODUCTS * 2 * SIZE**3 / least for least in best])


def products(library: str, setting: Setting) -> tuple[float, float]:
    """The rates of a process a core: those of all a second, and the best a CPU second."""
    context = get_context("fork")
    barrier, rates = context.Barrier(CORES), context.SimpleQueue()
    for _ in range(CORES):
        context.Process(
            target=multiply, args=(library, 0.05 if setting == SMOKE else 2.0, barrier, rates)
        ).start()
    wall_clock, cpu = zip(*(rates.get() for _ in range(CORES)), strict=True)
    return sum(wall_clock), max(cpu)


def make_data() -> float:
    """Make the data set where nnlab keeps it; the seconds that it took."""
    from nnlab.data.datasets.bundled import mnist1d

    began = time.perf_counter()
    mnist1d(examples=EXAMPLES, seed=42).load(0)
    return time.perf_counter() - began


CONTESTANTS: dict[str, Callable[[Setting, Path], Any]] = {
    "torch": on_processes(train_torch),
    "jax": contestant_jax,
    "numpy": on_processes(train_numpy),
    "products-torch": lambda setting, _: products("torch", setting),
    "products-numpy": lambda setting, _: products("numpy", setting),
    "make-data": lambda *_: make_data(),
}


# The race


def contestant(name: str, setting: Setting, file: Path, **more: str) -> tuple[Cost, Any]:
    """What a contestant of this script takes in a process of its own, and its result."""
    words = [f"--contestant={name}", f"--data={file}", *(["--smoke"] if setting == SMOKE else [])]
    environment = clean_environment(**ONE_THREAD, **more)
    cost, printed = run_process([sys.executable, __file__, *words], environment)
    return cost, json.loads(printed)


def by_hand(name: str, setting: Setting, file: Path) -> Raced:
    cost, found = contestant(name, setting, file)
    return Raced(cost, [Ended(*one) for one in found])


def nnlab(setting: Setting, cache: Path, out: Path, *more: str) -> Raced:
    """The sweep by nnlab; a verdict against the experiment (exit code 1) is none against its speed."""
    widths = ",".join(map(str, setting.widths))
    changes = [f"sweep.seeds={setting.seeds}", f"train.epochs={setting.epochs}", f"model.width={widths}"]
    command = [sys.executable, "-m", "nnlab", "sweep", str(EXPERIMENT), *changes, *more]
    command += ["--out", str(out), "--no-plots", "--quiet"]
    cost, _ = run_process(command, clean_environment(XDG_CACHE_HOME=str(cache)), codes=(0, 1))
    with (out / "trials.csv").open() as table:
        return Raced(cost, [outcome(out, row) for row in csv.DictReader(table)])


def outcome(out: Path, row: Mapping[str, str]) -> Ended:
    """What a row of trials.csv says."""
    if row["status"] != "complete":
        sys.exit(f"trial {row['trial']} of nnlab: {row['status']} {row['reason']}")
    looks = len((out / "trials" / row["trial"] / "metrics.csv").read_text().splitlines()) - 1
    error = 1 - float(row["final.test_accuracy"])
    return Ended(int(row["model.width"]), int(row["seed"]), error, int(row["step"]), looks)


def check_work(name: str, setting: Setting, found: Sequence[Ended]) -> None:
    """Every contestant does all trainings, with as many steps and evaluations."""
    wanted = [(*training, setting.steps, len(setting.looks)) for training in setting.trainings]
    if sorted((one.width, one.seed, one.steps, one.looks) for one in found) != sorted(wanted):
        sys.exit(f"{name} did not do the same work as the others")


def data_set(cache: Path, setting: Setting) -> Path:
    """The data set, made in nnlab's cache."""
    folder = cache / "nnlab" / "data"
    folder.mkdir(parents=True)
    if setting == SMOKE:
        return drawn_examples(folder)
    _, seconds = contestant("make-data", setting, folder, XDG_CACHE_HOME=str(cache))
    each = seconds / EXAMPLES * 1e3
    print(f"Data set made once: {seconds:.1f} s, {each:.2f} ms an example, in none of the ratios.\n")
    return next(folder.glob("*.npz"))


def drawn_examples(folder: Path) -> Path:
    """Random examples of the data set's shape, in the file where nnlab looks for them."""
    import numpy as np

    random, file = np.random.default_rng(0), folder / f"mnist1d-{version('mnist1d')}-{EXAMPLES}-42.npz"
    rows = {"": EXAMPLES * 4 // 5, "_test": EXAMPLES // 5}
    arrays = {f"x{part}": random.standard_normal((count, FEATURES)) for part, count in rows.items()}
    arrays |= {f"y{part}": random.integers(0, CLASSES, count) for part, count in rows.items()}
    np.savez(file, **arrays)
    return file


def race(setting: Setting) -> None:
    """Everything, one after the other; times are told on standard error as they come."""
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        note_missing("PyTorch")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        file = data_set(place / "cache", setting)
        run = functools.partial(nnlab, setting, place / "cache")
        rates = [measured_rate(setting, file, has_torch)]
        contestants: dict[str, Callable[[], Raced]] = {
            COLD: lambda: run(place / "cold"),
            WARM: lambda: run(place / "warm"),
            ONE_WORKER: lambda: run(place / "one", "--jobs", "1"),
            f"JAX, {CORES} threads": lambda: by_hand("jax", setting, file),
            NUMPY: lambda: by_hand("numpy", setting, file),
        }
        if has_torch:
            contestants[TORCH] = lambda: by_hand("torch", setting, file)
        found = {}
        for title, call in contestants.items():
            found[title] = call()
            check_work(title, setting, found[title].trainings)
            print(f"{title}: {found[title].cost.wall_clock:.1f} s", file=sys.stderr, flush=True)
        rates.append(measured_rate(setting, file, has_torch))
    print_errors(setting, {title: raced.trainings for title, raced in found.items()})
    floor = Rate(*map(max, zip(*rates, strict=True))).cost(setting.flops)
    costs = {title: raced.cost for title, raced in found.items()} | {FLOOR: floor}
    print_costs(
        f"{len(setting.trainings)} trainings of {setting.steps} steps, {setting.flops:.3g} floating-point "
        f"operations, {CORES} cores, from start to end of the process",
        costs,
    )
    saved = costs[COLD].cpu - costs[WARM].cpu
    print(f"The cache saves {saved:.1f} CPU s of the cold sweep's, {saved / costs[COLD].cpu:.0%}.\n")
    print_goals(judged(costs))


def judged(costs: Mapping[str, Cost]) -> Iterator[Goal]:
    """The goals of what ran."""
    for other, bound in ((NUMPY, 0.6), (TORCH, 0.25)):
        rivals = [costs[other]] if other in costs else []
        yield from goals(f"sweep, cold / {other}", costs[COLD], rivals, bound, "wall_clock", "cpu")
    yield from goals("sweep, warm / floor", costs[WARM], [costs[FLOOR]], 1.7, "wall_clock", "cpu")
    if CORES == 2:
        faster = costs[ONE_WORKER].wall_clock / costs[WARM].wall_clock
        yield Goal("sweep, warm, speed of 2 workers / 1", "wall_clock", faster, 1.8, at_least=True)


def measured_rate(setting: Setting, file: Path, has_torch: bool) -> Rate:
    """The rates of the faster library."""
    names = ["products-numpy", *(["products-torch"] if has_torch else [])]
    return Rate(*map(max, zip(*(contestant(name, setting, file)[1] for name in names), strict=True)))


def print_errors(setting: Setting, found: Mapping[str, Sequence[Ended]]) -> None:
    """Mean final test error of each width and contestant, in percent."""
    names = [name for name in found if name not in (WARM, ONE_WORKER)]
    rows = []
    for width in setting.widths:
        errors = [mean(t.error for t in found[name] if t.width == width) * 100 for name in names]
        rows.append([str(width), *(f"{error:.1f}" for error in errors), f"{max(errors) - min(errors):.1f}"])
    print("Final test error in %, mean over seeds\n")
    print_table(["width", *names, "apart"], rows)
    print()


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one small training: only whether it works")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    setting = SMOKE if options.smoke else FULL
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](setting, options.data)))
    else:
        race(setting)


if __name__ == "__main__":
    main()
