"""An epoch of two nets on Fashion-MNIST, as ratios within one run.

    python benchmarks/image_epoch_time.py            (make bench installs PyTorch and Keras first)
    python benchmarks/image_epoch_time.py --smoke    (few images, in seconds: only whether it works)

LeNet-5 (61,706 parameters, ReLU, max pooling; Adam, batch 64) and the batch-norm net of Géron 2019, ch. 11
(300 and 100 units, batch norm before each layer; SGD, batch 32), 60,000 images: nnlab's compiled chunks
against PyTorch eager and Keras on JAX, each as its user would have it: nnlab with the threads that `nnlab
train` takes, the others with all cores; PyTorch with the images as one tensor and no loader. Where
Fashion-MNIST is not at hand, images of its shape are drawn. Goal: nnlab at most 0.8 times the best other.

Each contestant has a process of its own; they take turns, and the ratio is of their fastest epochs, the first
one, which compiles, left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from race import (
    Cost,
    Goal,
    goals,
    least,
    measured,
    note_missing,
    print_compile_share,
    print_costs,
    print_goals,
    race,
)

IMAGES, SMOKE_IMAGES, CLASSES, RATE = 60_000, 128, 10, 1e-3
BATCH = {"lenet5": 64, "batch_norm_net": 32}

CONFIG = """
name: bench
data: {{type: npz, path: {}, split: {{train: {}}}, batch_size: {}}}
model: {}
optimizer: {{type: {}, learning_rate: {}}}
train: {{epochs: 1}}
record: {{every: {{epochs: 1}}, layers: false}}
"""
MODELS = {
    "lenet5": ("lenet5", "adam"),
    "batch_norm_net": (
        "[flatten, batch_norm, {type: dense, units: 300}, relu, batch_norm, {type: dense, units: 100}, relu,"
        " batch_norm, {type: dense, units: 10}]",
        "sgd",
    ),
}


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many of Fashion-MNIST's, drawn where it was never fetched: `[N, 28, 28]` float32 and `[N]` int32."""
    from nnlab.errors import InvalidValue
    from nnlab.registry import build
    from nnlab.system.device import cache_folder

    folder = cache_folder() / "data" / "fashion_mnist"  # with a path, nothing is fetched
    try:
        train = build("dataset", {"type": "fashion_mnist", "path": str(folder)}).load(0).train
    except InvalidValue:
        random = np.random.default_rng(0)
        labels = random.integers(0, CLASSES, count).astype(np.int32)
        return random.random((count, 28, 28), dtype=np.float32), labels
    return np.asarray(train.inputs[:count]), train.targets[:count]


def nnlab_epoch(net: str, count: int) -> Callable[[], Any]:
    """The chunks that `nnlab train` runs, with the threads that it chooses; the first epoch compiles."""
    from nnlab.config import check_tree
    from nnlab.config.document import parse
    from nnlab.system import device
    from nnlab.training.cost import step_flops
    from nnlab.training.experiment import build_experiment

    inputs, labels = images(count)
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, x=inputs, y=labels)
        file.flush()
        model, optimizer = MODELS[net]
        text = CONFIG.format(file.name, len(inputs), BATCH[net], model, optimizer, RATE)
        experiment = build_experiment(check_tree(parse(text, "benchmark")))
    device.configure("cpu", step_flops(experiment))
    import jax
    from chunks import training

    jax.config.update("jax_enable_compilation_cache", False)
    compiled = functools.cache(lambda: training([experiment]))
    return lambda: compiled()()


def pytorch_epoch(net: str, count: int) -> Callable[[], Any]:
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if net == "lenet5":
        model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(),
            nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES),
        )  # fmt: skip
        optimizer: Any = torch.optim.Adam(model.parameters(), RATE)
    else:
        model = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 300), nn.ReLU(), nn.BatchNorm1d(300),
            nn.Linear(300, 100), nn.ReLU(), nn.BatchNorm1d(100), nn.Linear(100, CLASSES),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), RATE)
    inputs, labels = images(count)
    x, y = torch.from_numpy(inputs)[:, None], torch.from_numpy(labels).long()
    loss_of = nn.CrossEntropyLoss()

    def epoch() -> None:
        model.train()
        order = torch.randperm(len(x))
        for rows in order[: len(x) // BATCH[net] * BATCH[net]].split(BATCH[net]):
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()

    return epoch


def keras_epoch(net: str, count: int) -> Callable[[], Any]:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    if net == "lenet5":
        parts = [
            layers.Conv2D(6, 5, padding="same", activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
            layers.Dense(84, activation="relu"), layers.Dense(CLASSES),
        ]  # fmt: skip
        model, optimizer = keras.Sequential([keras.Input((28, 28, 1)), *parts]), keras.optimizers.Adam(RATE)
    else:
        parts = [
            layers.Flatten(), layers.BatchNormalization(), layers.Dense(300, activation="relu"),
            layers.BatchNormalization(), layers.Dense(100, activation="relu"),
            layers.BatchNormalization(), layers.Dense(CLASSES),
        ]  # fmt: skip
        model, optimizer = keras.Sequential([keras.Input((28, 28, 1)), *parts]), keras.optimizers.SGD(RATE)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs, labels = images(count)
    return lambda: model.fit(inputs[..., None], labels, batch_size=BATCH[net], epochs=1, verbose=0)


CONTESTANTS = {"nnlab": nnlab_epoch, "PyTorch eager": pytorch_epoch, "Keras on JAX": keras_epoch}
PACKAGES = {"PyTorch eager": "torch", "Keras on JAX": "keras"}


def serve(name: str, net: str, count: int) -> None:
    """Run an epoch for each line that comes in, and print what it took."""
    epoch = measured(CONTESTANTS[name](net, count))
    for _ in sys.stdin:
        print(json.dumps(epoch()), flush=True)


def epoch_of(worker: subprocess.Popen[str]) -> Cost:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write("epoch\n")
    worker.stdin.flush()
    return Cost(*json.loads(worker.stdout.readline()))


def race_net(net: str, names: list[str], count: int, rounds: int) -> Iterator[Goal]:
    """A process for each contestant, which waits while the others have their turns."""
    words = [sys.executable, __file__, "--images", str(count), "--serve"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = {name: subprocess.Popen([*words, name, net], **pipes) for name in names}
    epochs = {name: functools.partial(epoch_of, worker) for name, worker in workers.items()}
    first, *others = [race(epochs, 1) for _ in range(1 + rounds)]
    for worker in workers.values():
        worker.communicate()
    costs = {name: least(found[name] for found in others) for name in names}
    print_costs(f"{net}, an epoch of {count:,} images at batch {BATCH[net]}", costs)
    ours = costs["nnlab"]
    print_compile_share(first["nnlab"].cpu - ours.cpu, ours, "epochs")
    rivals = [cost for name, cost in costs.items() if name != "nnlab"]
    yield from goals(f"{net}, epoch, nnlab / best other", ours, rivals, 0.8, "wall_clock", "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--smoke", action="store_true", help="few images: only whether it works")
    parser.add_argument("--serve", nargs=2, metavar=("CONTESTANT", "NET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    count, rounds = (SMOKE_IMAGES, 1) if arguments.smoke else (arguments.images, arguments.rounds)
    if arguments.serve:
        serve(*arguments.serve, count)
        return
    missing = [name for name, package in PACKAGES.items() if importlib.util.find_spec(package) is None]
    for name in missing:
        note_missing(name)
    names = [name for name in CONTESTANTS if name not in missing]
    print_goals([goal for net in BATCH for goal in race_net(net, names, count, rounds)])


if __name__ == "__main__":
    main()
