"""How long a sweep takes from the start of its process to the end, as ratios within one run.

    python benchmarks/sweep_time.py            (make bench installs PyTorch first)
    python benchmarks/sweep_time.py --tiny     (overhead of a trial, and memory over many of them)
    python benchmarks/sweep_time.py --smoke    (one small training, drawn examples: only whether it works)

The sweep is experiments/double_descent_mnist1d.yaml with 3 seeds: MLPs 40-h-h-10 of 10 widths, He-normal
weights, batch 100, SGD with momentum, cross-entropy, 150 epochs, and all 16,000 examples evaluated at 8
moments. Goals: nnlab without a compilation cache <= 0.3 of PyTorch on as many processes; nnlab with one
<= 2 x the floor, which is the arithmetic at the speed of nothing but matrix products.

Each contestant is a process of its own, imports included, and uses all cores. All read the same file of
examples and draw split, label noise, first weights and order from the seed, each with its own generator, so
that they train the same thing but for chance; the table of test errors shows that they do.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from race import print_ratio

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "double_descent_mnist1d.yaml"
WIDTHS = [6, 10, 16, 24, 32, 44, 56, 80, 140, 256]
EXAMPLES, TRAINING, FEATURES, CLASSES = 16000, 4000, 40, 10
NOISE, BATCH, RATE, MOMENTUM, LOOKS = 0.15, 100, 0.03, 0.9, 8
CORES = len(os.sched_getaffinity(0))
TORCH = f"PyTorch, {CORES} processes"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SIZE, PRODUCTS, PRODUCT_SECONDS = 512, 8, 2.0  # matrices that the floor is measured by, products a window
SAMPLE_SECONDS = 0.05

TINY = """
name: bench-tiny
data: {type: xor}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.05}
train: {steps: 20}
sweep: {axes: {optimizer.learning_rate: {linspace: [0.01, 0.5, %d]}}}
"""


class Setting(NamedTuple):
    """What is trained: the full sweep, or less of it for a try."""

    widths: list[int]
    seeds: int
    epochs: int

    @property
    def steps(self) -> int:
        return self.epochs * (TRAINING // BATCH)

    @property
    def looks(self) -> list[int]:
        """The steps at which all examples are evaluated; the last one is after the training."""
        last, count = self.steps, min(LOOKS, self.steps + 1)
        return sorted(
            {0, last, *(round(math.expm1(math.log1p(last) * i / (count - 1))) for i in range(count))}
        )

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Width and seed of each training, the costliest first."""
        return [(width, seed) for width in sorted(self.widths, reverse=True) for seed in range(self.seeds)]

    @property
    def flops(self) -> float:
        """Floating-point operations that nobody can do without, about: a step takes 2 forward and 4 backward
        a weight and example, though none of the 2 that would lead back to the inputs."""
        weights = sum(sum(math.prod(shape) for shape in shapes(width)) for width, _ in self.trainings)
        return weights * (6.0 * BATCH * self.steps + 2.0 * EXAMPLES * len(self.looks))


SMOKE = Setting([6], 1, 1)
SMOKE_TRIALS = 2


class Ended(NamedTuple):
    """What a training came to, and what it did for it."""

    width: int
    seed: int
    error: float
    steps: int
    looks: int


class Raced(NamedTuple):
    """seconds: from start to end of the process; busy: processor time of it and all that it started."""

    seconds: float
    busy: float
    trainings: list[Ended]


class Split(NamedTuple):
    """NumPy arrays: inputs `[N, 40]` float32, targets `[N]` int64."""

    inputs: Any
    targets: Any


def shapes(width: int) -> list[tuple[int, int]]:
    return [(FEATURES, width), (width, width), (width, CLASSES)]


@functools.cache
def examples(file: Path) -> Split:
    """All examples of the file."""
    import numpy as np

    with np.load(file) as archive:
        inputs = np.concatenate([archive["x"], archive["x_test"]]).astype(np.float32)
        return Split(inputs, np.concatenate([archive["y"], archive["y_test"]]).astype(np.int64))


@functools.cache
def prepared(file: Path, seed: int) -> tuple[Split, Split]:
    """Training and test examples of a seed; a share of the training labels is drawn anew."""
    import numpy as np

    random, (inputs, targets) = np.random.default_rng([seed, 0]), examples(file)
    rows = random.permutation(len(inputs))
    train, test = (Split(inputs[part], targets[part]) for part in (rows[:TRAINING], rows[TRAINING:]))
    wrong = random.permutation(TRAINING)[: round(NOISE * TRAINING)]
    train.targets[wrong] = random.integers(0, CLASSES, len(wrong))
    return train, test


def first_weights(width: int, seed: int) -> list[Any]:
    """He-normal kernels, each followed by its zero biases, as NumPy float32 arrays."""
    import numpy as np

    random, arrays = np.random.default_rng([seed, 1]), []
    for rows, columns in shapes(width):
        kernel = random.standard_normal((rows, columns), np.float32) * np.float32(math.sqrt(2 / rows))
        arrays += [kernel, np.zeros(columns, np.float32)]
    return arrays


def batches(seed: int, epochs: int) -> Any:
    """The training examples of each step, `[steps, BATCH]`: every epoch is a permutation."""
    import numpy as np

    random = np.random.default_rng([seed, 2])
    return np.concatenate([random.permutation(TRAINING).reshape(-1, BATCH) for _ in range(epochs)])


# PyTorch, as its tutorial has it, without the data loader, which is slower


def train_torch(setting: Setting, file: Path, training: tuple[int, int]) -> Ended:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    width, seed = training
    torch.manual_seed(seed)
    train, test = (tuple(map(torch.from_numpy, part)) for part in prepared(file, seed))
    net = nn.Sequential(
        nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
    )
    for layer in net[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)

    def look() -> list[tuple[float, float]]:
        """Loss and accuracy of training and test examples."""
        found = []
        with torch.no_grad():
            for inputs, targets in (train, test):
                outputs = net(inputs)
                correct = (outputs.argmax(1) == targets).float().mean().item()
                found.append((criterion(outputs, targets).item(), correct))
        return found

    (inputs, targets), step, records, due = train, 0, [], set(setting.looks)
    for _ in range(setting.epochs):
        for rows in torch.randperm(TRAINING).split(BATCH):
            if step in due:
                records.append(look())
            optimizer.zero_grad()
            criterion(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            step += 1
    records.append(look())
    return Ended(width, seed, 1 - records[-1][1][1], step, len(records))


# NumPy, by hand


def train_numpy(setting: Setting, file: Path, training: tuple[int, int]) -> Ended:
    width, seed = training
    train, test = prepared(file, seed)
    weights, records, due = first_weights(width, seed), [], set(setting.looks)
    velocity, order = [0 * array for array in weights], batches(seed, setting.epochs)
    for step, rows in enumerate(order):
        if step in due:
            records.append([numpy_look(weights, part) for part in (train, test)])
        gradients = numpy_gradients(weights, train.inputs[rows], train.targets[rows])
        for w, v, g in zip(weights, velocity, gradients, strict=True):
            v *= MOMENTUM
            v += g
            w -= RATE * v
    records.append([numpy_look(weights, part) for part in (train, test)])
    return Ended(width, seed, 1 - records[-1][1][1], len(order), len(records))


def numpy_forward(weights: Sequence[Any], x: Any) -> tuple[Any, Any, Any]:
    """Both hidden layers and the logarithms of the probabilities."""
    import numpy as np

    w1, b1, w2, b2, w3, b3 = weights
    first = np.maximum(x @ w1 + b1, 0)
    second = np.maximum(first @ w2 + b2, 0)
    outputs = second @ w3 + b3
    outputs -= outputs.max(1, keepdims=True)
    return first, second, outputs - np.log(np.exp(outputs).sum(1, keepdims=True))


def numpy_gradients(weights: Sequence[Any], x: Any, y: Any) -> list[Any]:
    import numpy as np

    first, second, outputs = numpy_forward(weights, x)
    error = np.exp(outputs)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    back2 = (error @ weights[4].T) * (second > 0)
    back1 = (back2 @ weights[2].T) * (first > 0)
    pairs = ((x, back1), (first, back2), (second, error))
    return [part for below, above in pairs for part in (below.T @ above, above.sum(0))]


def numpy_look(weights: Sequence[Any], part: Split) -> tuple[float, float]:
    """Loss and accuracy."""
    import numpy as np

    *_, outputs = numpy_forward(weights, part.inputs)
    loss = -outputs[np.arange(len(part.targets)), part.targets].mean()
    return float(loss), float((outputs.argmax(1) == part.targets).mean())


def on_processes(train: Callable[..., Ended]) -> Callable[[Setting, Path], list[Ended]]:
    """A process a core, all of them taking from one queue. Forked before anything is imported."""

    def contestant(setting: Setting, file: Path) -> list[Ended]:
        with get_context("fork").Pool(CORES) as pool:
            work = functools.partial(train, setting, file)
            return list(pool.imap_unordered(work, setting.trainings, chunksize=1))

    return contestant


# JAX, by hand


def jax_program(setting: Setting) -> Callable[..., Any]:
    """(weights, train, test, order, looks) -> losses and accuracies at each step: one scan over steps."""
    import jax
    import jax.numpy as jnp

    def forward(weights: Any, x: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = weights
        hidden = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
        return jax.nn.log_softmax(hidden @ w3 + b3)

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(forward(weights, x), y[:, None], axis=1).mean()

    def look(weights: Any, parts: Any) -> Any:
        found = []
        for x, y in parts:
            outputs = forward(weights, x)
            found += [-jnp.take_along_axis(outputs, y[:, None], axis=1).mean()]
            found += [(outputs.argmax(1) == y).mean()]
        return jnp.stack(found)

    def program(weights: Any, train: Any, test: Any, order: Any, looks: Any) -> Any:
        def step(carry: Any, now: Any) -> Any:
            (weights, velocity), (rows, due) = carry, now
            seen = jax.lax.cond(due, lambda: look(weights, (train, test)), lambda: jnp.zeros(4))
            gradients = jax.grad(loss)(weights, train.inputs[rows], train.targets[rows])
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
            return (jax.tree.map(lambda w, v: w - RATE * v, weights, velocity), velocity), seen

        start = (weights, jax.tree.map(jnp.zeros_like, weights))
        (weights, _), seen = jax.lax.scan(step, start, (order, looks))
        return jnp.concatenate([seen, look(weights, (train, test))[None]])

    return program


def jax_inputs(setting: Setting, file: Path, training: tuple[int, int]) -> tuple[Any, ...]:
    import numpy as np

    width, seed = training
    train, test = (Split(part.inputs, part.targets.astype(np.int32)) for part in prepared(file, seed))
    order = batches(seed, setting.epochs).astype(np.int32)
    return first_weights(width, seed), train, test, order, np.isin(np.arange(len(order)), setting.looks)


def contestant_jax(setting: Setting, file: Path) -> list[Ended]:
    """One process with a thread a core: first every width is compiled, then the trainings run."""
    # A pool of one thread (PJRT_NPROC=1) runs one program at a time, whichever thread calls it. So the pool
    # has a thread a core, and a program may not spread over it.
    os.environ |= {"PJRT_NPROC": str(CORES), "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    import jax
    import numpy as np

    def compiled(width: int) -> Any:
        inputs = jax_inputs(setting, file, (width, 0))
        return jax.jit(jax_program(setting)).lower(*inputs).compile()

    def train(program: Any, training: tuple[int, int]) -> Ended:
        inputs = jax_inputs(setting, file, training)
        seen = np.asarray(program(*inputs))
        return Ended(*training, 1 - float(seen[-1, 3]), len(seen) - 1, int((seen[:, 0] > 0).sum()))

    with ThreadPoolExecutor(CORES) as pool:
        programs = dict(zip(setting.widths, pool.map(compiled, setting.widths), strict=True))
        return list(pool.map(lambda t: train(programs[t[0]], t), setting.trainings))


# What the machine can do


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


def multiply(library: str, barrier: Any, rates: Any) -> None:
    """The best rate of products, in floating-point operations a second, while all cores do the same."""
    product = product_by(library)
    product()
    barrier.wait()
    best, now = math.inf, time.perf_counter()
    until = now + PRODUCT_SECONDS
    while True:
        began = now
        for _ in range(PRODUCTS):
            product()
        now = time.perf_counter()
        if now > until:
            break
        best = min(best, now - began)
    rates.put(PRODUCTS * 2 * SIZE**3 / best)


def products(library: str) -> float:
    """The rates of a process a core, added."""
    context = get_context("fork")
    barrier, rates = context.Barrier(CORES), context.SimpleQueue()
    for _ in range(CORES):
        context.Process(target=multiply, args=(library, barrier, rates)).start()
    return sum(rates.get() for _ in range(CORES))


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
    "products-torch": lambda *_: products("torch"),
    "products-numpy": lambda *_: products("numpy"),
    "make-data": lambda *_: make_data(),
}


# The race


def environment(**more: str) -> dict[str, str]:
    """This one without what would change threads, devices or caches."""
    prefixes = ("JAX_", "XLA_", "PJRT_", "OMP_", "OPENBLAS_", "MKL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"JAX_PLATFORMS": "cpu"} | more


def timed(command: Sequence[str], environment: dict[str, str], codes: Sequence[int] = (0,)) -> Any:
    """Seconds from start to end, processor seconds, and what it printed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode not in codes:
        sys.exit(f"{' '.join(command)}: exit code {ended.returncode}")
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, busy, ended.stdout


def contestant(name: str, setting: Setting, file: Path, **more: str) -> Any:
    """Seconds, processor seconds and result of a contestant of this script in a process of its own."""
    options = {"contestant": name, "data": file, "seeds": setting.seeds, "epochs": setting.epochs}
    options["widths"] = ",".join(map(str, setting.widths))
    words = [f"--{key}={value}" for key, value in options.items()]
    seconds, busy, printed = timed([sys.executable, __file__, *words], environment(**ONE_THREAD, **more))
    return seconds, busy, json.loads(printed)


def raced(name: str, setting: Setting, file: Path) -> Raced:
    seconds, busy, found = contestant(name, setting, file)
    return Raced(seconds, busy, [Ended(*one) for one in found])


def sweep_command(config: Path, out: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "nnlab", "sweep", str(config), *more]
    return [*words, "--out", str(out), "--no-plots", "--quiet"]


def nnlab(setting: Setting, cache: Path, out: Path, *more: str) -> Raced:
    """The sweep by nnlab; a verdict against the experiment (exit code 1) is none against its speed."""
    changes = [f"sweep.seeds={setting.seeds}"]
    if setting.epochs != 150:
        changes += [f"train.epochs={setting.epochs}"]
    if setting.widths != WIDTHS:
        changes += [f"model.width={','.join(map(str, setting.widths))}"]
    command = sweep_command(EXPERIMENT, out, *changes, *more)
    seconds, busy, _ = timed(command, environment(XDG_CACHE_HOME=str(cache)), (0, 1))
    with (out / "trials.csv").open() as table:
        return Raced(seconds, busy, [outcome(out, row) for row in csv.DictReader(table)])


def outcome(out: Path, row: dict[str, str]) -> Ended:
    """What a row of trials.csv says."""
    if row["status"] != "complete":
        sys.exit(f"trial {row['trial']} of nnlab: {row['status']} {row['reason']}")
    looks = len((out / "trials" / row["trial"] / "metrics.csv").read_text().splitlines()) - 1
    error = 1 - float(row["final.test_accuracy"])
    return Ended(int(row["model.width"]), int(row["seed"]), error, int(row["step"]), looks)


def check_work(name: str, setting: Setting, found: list[Ended]) -> None:
    """Every contestant does all trainings, with as many steps and evaluations."""
    wanted = [(*training, setting.steps, len(setting.looks)) for training in setting.trainings]
    if sorted((one.width, one.seed, one.steps, one.looks) for one in found) != sorted(wanted):
        sys.exit(f"{name} did not do the same work as the others")


def data_set(cache: Path, setting: Setting, given: Path | None) -> Path:
    """The data set, made or copied into nnlab's cache."""
    folder = cache / "nnlab" / "data"
    folder.mkdir(parents=True)
    if setting == SMOKE:
        return drawn_examples(folder)
    if given:
        file = folder / given.name
        file.write_bytes(given.read_bytes())
        return file
    _, _, seconds = contestant("make-data", setting, folder, XDG_CACHE_HOME=str(cache))
    each = seconds / EXAMPLES * 1e3
    print(f"data set made once: {seconds:.1f} s, {each:.2f} ms an example, in none of the ratios")
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


def race(setting: Setting, given: Path | None) -> None:
    """Everything, one after the other; times are told on standard error as they come."""
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is not installed (make bench installs it); the others go on without it")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        file = data_set(place / "cache", setting, given)
        run = functools.partial(nnlab, setting, place / "cache")
        rates = [measured_rate(setting, file, has_torch)]
        contestants: dict[str, Callable[[], Raced]] = {
            "nnlab, cold": lambda: run(place / "cold"),
            "nnlab, warm": lambda: run(place / "warm"),
            "nnlab, warm, --jobs 1": lambda: run(place / "one", "--jobs", "1"),
            f"JAX by hand, {CORES} threads": lambda: raced("jax", setting, file),
            f"NumPy, {CORES} processes": lambda: raced("numpy", setting, file),
        }
        if has_torch:
            contestants[TORCH] = lambda: raced("torch", setting, file)
        found = {}
        for title, call in contestants.items():
            found[title] = call()
            check_work(title, setting, found[title].trainings)
            print(f"{title}: {found[title].seconds:.1f} s", file=sys.stderr, flush=True)
        rates.append(measured_rate(setting, file, has_torch))
    rate, library = max(rates)
    print(f"{library} multiplies {SIZE} x {SIZE} matrices at {rate / 1e9:.0f} GFLOP/s on {CORES} cores")
    print_errors(setting, found)
    print_times(setting, found, setting.flops / rate)


def measured_rate(setting: Setting, file: Path, has_torch: bool) -> tuple[float, str]:
    """The faster library's rate, in floating-point operations a second, and its name."""
    names = {"products-numpy": "NumPy"} | ({"products-torch": "PyTorch"} if has_torch else {})
    return max((contestant(name, setting, file)[2], shown) for name, shown in names.items())


def print_times(setting: Setting, found: dict[str, Raced], floor: float) -> None:
    cold, warm, one, *_ = (result.seconds for result in found.values())
    print(
        f"{len(setting.trainings)} trainings of {setting.steps} steps, {setting.flops:.3g} floating-point "
        f"operations, {CORES} cores; seconds from start to end of the process\n"
    )
    print(f"  {'':26s} {'seconds':>9s} {'CPU s':>9s} {'nnlab cold / this':>18s} {'nnlab warm / this':>18s}")
    for name, result in found.items():
        times, ratios = f"{result.seconds:9.2f} {result.busy:9.2f}", (cold, warm)
        print(f"  {name:26s} {times} " + " ".join(f"{ours / result.seconds:18.2f}" for ours in ratios))
    print(f"  {'floor':26s} {floor:9.2f} {'':9s} {cold / floor:18.2f} {warm / floor:18.2f}\n")
    print("ratios")
    if TORCH in found:
        print_ratio(f"nnlab cold / {TORCH}", cold / found[TORCH].seconds, 0.3)
    print_ratio("nnlab warm / floor", warm / floor, 2.0)
    print(f"  nnlab warm, 1 worker / {CORES} workers: {one / warm:.2f}")


def print_errors(setting: Setting, found: dict[str, Raced]) -> None:
    """Mean final test error of each width and contestant, in percent."""
    names = [name for name in found if name not in ("nnlab, warm", "nnlab, warm, --jobs 1")]
    print("final test error in %, mean over seeds")
    print("  width " + " ".join(f"{name:>22s}" for name in names) + f" {'apart':>7s}")
    for width in setting.widths:
        errors = [mean(t.error for t in found[name].trainings if t.width == width) * 100 for name in names]
        cells = " ".join(f"{error:22.1f}" for error in errors)
        print(f"  {width:5d} {cells} {max(errors) - min(errors):7.1f}")


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


# Overhead of a trial


class Sample(NamedTuple):
    """Trials begun so far, and the peak resident memory of each process in MiB, by its id."""

    begun: int
    peaks: dict[int, float]


def tiny(trials: int) -> None:
    """Seconds of many tiny trials, and memory over ten times as many."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        seconds = [tiny_run(place, label, count)[0] for label, count in (("cold", trials), ("warm", trials))]
        longer, parent, samples = tiny_run(place, "many", 10 * trials)
    labels = ("no compilation cache", "compilation cache", "compilation cache")
    counts = (trials, trials, 10 * trials)
    print(f"trials of 20 steps of a net of width 4, nnlab sweep on {CORES} cores")
    for label, count, took in zip(labels, counts, (*seconds, longer), strict=True):
        print(f"  {count:6d} trials, {label:21s} {took:7.2f} s {took / count * 1e3:7.1f} ms a trial")
    further = (longer - seconds[1]) / (9 * trials) * 1e3
    print(f"  each further trial (the last line less the one above): {further:.1f} ms\n")
    print_memory(10 * trials, parent, samples)


def tiny_run(place: Path, label: str, trials: int) -> tuple[float, int, list[Sample]]:
    """Seconds, id of the sweep's process, and samples of its memory and its workers'."""
    config, out = place / f"{label}.yaml", place / label
    config.write_text(TINY % trials)
    began = time.perf_counter()
    process = subprocess.Popen(sweep_command(config, out), env=environment(XDG_CACHE_HOME=str(place)))
    samples: list[Sample] = []
    watcher = threading.Thread(target=watch, args=(process.pid, out / "trials", samples), daemon=True)
    watcher.start()
    if process.wait():
        sys.exit(f"nnlab sweep: exit code {process.returncode}")
    seconds = time.perf_counter() - began
    watcher.join()
    return seconds, process.pid, samples


def watch(parent: int, trials: Path, samples: list[Sample]) -> None:
    """Sample until the parent has gone."""
    while peak(parent):
        begun = sum(1 for _ in trials.iterdir()) if trials.exists() else 0
        children = Path(f"/proc/{parent}/task/{parent}/children")
        try:
            pids = [parent, *map(int, children.read_text().split())]
        except OSError:
            return
        samples.append(Sample(begun, {pid: peak(pid) for pid in pids}))
        time.sleep(SAMPLE_SECONDS)


def peak(pid: int) -> float:
    """Peak resident memory so far, in MiB; 0 where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def print_memory(trials: int, parent: int, samples: list[Sample]) -> None:
    """At a quarter of the trials, at the last of them, and for the parent after the tables are written."""
    most = max(len(sample.peaks) for sample in samples)
    working = [sample for sample in samples if len(sample.peaks) == most and all(sample.peaks.values())]
    quarter = next(sample for sample in working if sample.begun >= trials / 4)
    last = working[-1]
    print(f"  peak resident memory, MiB     at {quarter.begun} trials   at {last.begun} trials   ratio")
    for pid, after in last.peaks.items():
        before, name = quarter.peaks.get(pid, math.nan), "parent" if pid == parent else f"worker {pid}"
        print(f"  {name:28s} {before:15.1f} {after:16.1f} {after / before:7.3f}")
    print(f"  {'parent, tables written':28s} {'':15s} {max(s.peaks[parent] for s in samples):16.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="with commas between")
    parser.add_argument("--data", type=Path, help="the data set of 16,000 examples, made before")
    parser.add_argument("--tiny", action="store_true", help="overhead of a trial, in place of the race")
    parser.add_argument("--trials", type=int, default=200, help="of --tiny, and ten times as many")
    parser.add_argument("--smoke", action="store_true", help="one small training: only whether it works")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    setting = Setting([int(width) for width in options.widths.split(",")], options.seeds, options.epochs)
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](setting, options.data)))
    elif options.tiny:
        tiny(SMOKE_TRIALS if options.smoke else options.trials)
    else:
        race(SMOKE if options.smoke else setting, options.data)


if __name__ == "__main__":
    main()
