"""Steps of nnlab beside those of PyTorch, eager and compiled, on the same device."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from chunks import experiment, training
from race import measured, print_costs, race

from device import Row

EXAMPLES = Path(__file__).parents[2] / "examples" / "well_known_nets"
MODELS, WIDTH, CLASSES = 51, 64, 10
CONFIG = """
name: race
seed: {seed}
data: {{type: npz, path: {path}, split: {{train: {count}}}, batch_size: {batch}}}
model: {model}
optimizer: {{type: sgd, learning_rate: 0.01, momentum: 0.9}}
train: {{steps: {steps}}}
record: {{every: {{steps: {steps}}}, layers: false}}
"""


class Race(NamedTuple):
    """A net, and how much of it is raced.

    Attributes:
        name: Its name.
        model: As an experiment file has it.
        shape: Of an example.
        batch: Examples of a step.
        steps: Of a round.
        bound: Of what nnlab's step takes, by that of the best PyTorch.
        models: How many are trained, by nnlab side by side, by PyTorch one by one.
    """

    name: str
    model: Any
    shape: tuple[int, ...]
    batch: int
    steps: int
    bound: float = 1.0
    models: int = 1


def resnet18() -> Any:
    """The model of the example, for ten classes."""
    model = yaml.safe_load((EXAMPLES / "resnet18.yaml").read_text())["model"]
    return [*model[:-1], {"type": "dense", "units": CLASSES}]


RACES = [
    Race("LeNet-5, batch 64", "lenet5", (28, 28, 1), 64, 500),
    Race("ResNet-18, images of 32 x 32, batch 128", resnet18(), (32, 32, 3), 128, 50),
    Race(
        f"{MODELS} nets 40-{WIDTH}-{WIDTH}-10, batch 100",
        {"type": "mlp", "width": WIDTH, "depth": 2, "activation": "relu", "outputs": 10},
        (40,),
        100,
        500,
        bound=0.1,
        models=MODELS,
    ),
]


def races(folder: Path, rounds: int = 3, smoke: bool = False) -> Iterator[Row]:
    """Every net against PyTorch where it has this device; in tiny sizes where only to see that it works."""
    for one in RACES:
        small = one._replace(batch=2, steps=2, models=min(2, one.models)) if smoke else one
        yield _race(small, folder, 1 if smoke else rounds, smoke)


def _race(one: Race, folder: Path, rounds: int, smoke: bool) -> Row:
    count = max(4 * one.batch, CLASSES)
    inputs = np.random.default_rng(0).random((count, *one.shape), dtype=np.float32)
    labels = np.arange(count) % CLASSES
    path = folder / "race.npz"
    np.savez(path, x=inputs, y=labels)
    words = {"path": path, "count": count, "batch": one.batch, "steps": one.steps}
    model = yaml.safe_dump(one.model, default_flow_style=True, width=10**9).removesuffix("...\n").strip()
    experiments = [experiment(CONFIG.format(seed=s, model=model, **words)) for s in range(one.models)]
    calls = {"nnlab": training(experiments)}
    for name, compiles in (("PyTorch eager", False), ("PyTorch compiled", True)):
        if _torch_is_here(smoke) and not (smoke and compiles):
            calls[name] = _torch_loop(one, inputs, labels, compiles)
    costs = race({name: measured(call) for name, call in calls.items()}, rounds)
    trained = {name: one.models if name == "nnlab" else 1 for name in costs}
    costs = {name: cost.per(one.steps * trained[name]) for name, cost in costs.items()}
    print_costs(f"A step of a model: {one.name}", costs, "ms")
    ours, *others = (cost.wall_clock for cost in costs.values())
    if not others:
        return Row(one.name, f"{ours * 1e3:.2f} ms a step, PyTorch lacks this device", "to run", True)
    ratio = ours / min(others)
    return Row(f"{one.name}: step / best PyTorch", f"{ratio:.2f}", f"<= {one.bound:g}", ratio <= one.bound)


def _torch_is_here(smoke: bool) -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return smoke or torch.cuda.is_available()


def _torch_loop(one: Race, inputs: np.ndarray, labels: np.ndarray, compiles: bool) -> Callable[[], None]:
    """As PyTorch's tutorials have it, the examples on the device, without a data loader."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = _torch_net(one).to(device)
    forward = torch.compile(net) if compiles else net
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    x = torch.from_numpy(np.moveaxis(inputs, -1, 1).copy() if inputs.ndim > 2 else inputs).to(device)
    y = torch.from_numpy(labels).to(device)
    criterion = nn.CrossEntropyLoss()

    def run() -> None:
        order = torch.randperm(len(x), device=device).split(one.batch)
        for step in range(one.steps):
            rows = order[step % len(order)]
            optimizer.zero_grad()
            criterion(forward(x[rows]), y[rows]).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _torch_net(one: Race) -> Any:
    from torch import nn

    if one.shape == (40,):
        hidden = [nn.Linear(40, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(WIDTH, CLASSES))
    if one.shape == (28, 28, 1):
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(),
            nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES),
        )  # fmt: skip
    blocks, before = [], 64
    for width in (64, 64, 128, 128, 256, 256, 512, 512):
        blocks.append(_block(before, width))
        before = width
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES))


def _block(before: int, width: int) -> Any:
    """A basic block of He et al. 2015, which halves the side where it is wider than what comes in."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            stride = 1 if before == width else 2
            self.path = nn.Sequential(
                nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            )  # fmt: skip
            shortcut = [nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)]
            self.shortcut = nn.Sequential(*(shortcut if stride == 2 else []))

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.path(x) + self.shortcut(x))

    return Block()
