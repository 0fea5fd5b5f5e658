"""The kinds of components: where each is at home, and how it is written short."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from nnlab.registry.spec import ConfigValue


class Kind(NamedTuple):
    """A family of components.

    Attributes:
        name: The word by which commands and messages name it.
        home: The package whose modules register its components; imported at the first look-up.
        about: What the family is for, in one line.
        shorthand: Python type of a YAML value -> (component, parameter) that the value stands for.
        label: The field of a built component that is to hold the component's name, where it has one.
        adopts: Another kind whose components serve as this one's too (every activation is a layer).
        drawn_on_host: Whether its components run on the host, outside of the compiled program.
        example: A config value to show where one component is expected.
        example_list: A config value to show where a list of components is expected.
        elsewhere: What to say of names that other frameworks have; the names as `text.letters` makes them.
        keys_elsewhere: What keys of other frameworks are here: another key, or what to say of them.
    """

    name: str
    home: str
    about: str
    shorthand: Mapping[type, tuple[str, str]] = MappingProxyType({})
    label: str = ""
    adopts: str | None = None
    drawn_on_host: bool = False
    example: ConfigValue = "..."
    example_list: Sequence[ConfigValue] = ()
    elsewhere: Mapping[str, str] = MappingProxyType({})
    keys_elsewhere: Mapping[str, str] = MappingProxyType({})


LOGITS = "; outputs are logits, and the loss cross_entropy applies softmax itself: leave it out"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "layer",
            "nnlab.nn",
            "a step of the model",
            shorthand={list: ("sequential", "layers")},
            label="type",
            adopts="activation",
            example={"type": "lstm", "units": 10},
            example_list=({"type": "dense", "units": 10}, "relu"),
            elsewhere={
                "softmax": LOGITS,
                "logsoftmax": LOGITS,
                **dict.fromkeys(("linear", "fullyconnected"), "; here it is called 'dense'"),
                **dict.fromkeys(("maxpool2d", "maxpooling2d"), "; here it is called 'max_pool'"),
                **dict.fromkeys(("avgpool2d", "averagepooling2d"), "; here it is called 'average_pool'"),
                "adaptiveavgpool2d": "; here is 'global_average_pool', which makes one value of each channel",
                "rnn": "; here it is called 'simple_rnn'",
                "swish": "; here it is called 'silu'",
            },
            keys_elsewhere={
                **dict.fromkeys(("kernelsize", "poolsize"), "size"),
                **dict.fromkeys(("outfeatures", "hiddensize"), "units"),
                **dict.fromkeys(
                    ("infeatures", "inchannels", "inputshape"), "known from the data; leave it out"
                ),
                "outchannels": "filters",
                "numheads": "heads",
                "eps": "epsilon",
                "bias": "use_bias",
                "p": "rate",
                "activation": "an activation is a layer of its own, after this one",
            },
        ),
        Kind(
            "activation",
            "nnlab.nn",
            "an elementwise function; also a layer",
            elsewhere={
                "softmax": "; it is not elementwise; the loss cross_entropy applies it to the outputs itself",
                "linear": "; here it is called 'identity'",
                "swish": "; here it is called 'silu'",
            },
        ),
        Kind("initializer", "nnlab.nn", "draws the first weights", drawn_on_host=True),
        Kind("dataset", "nnlab.data", "examples to learn from"),
        Kind("transform", "nnlab.data", "scales inputs by training statistics"),
        Kind("task_sequence", "nnlab.data", "what one training learns one after the other"),
        Kind(
            "augmentation",
            "nnlab.data",
            "changes training inputs at random, anew at each step",
            label="name",
        ),
        Kind(
            "loss",
            "nnlab.optim",
            "what training makes small",
            elsewhere={
                **dict.fromkeys(("mse", "mseloss", "l2loss"), "; here it is called 'squared_error'"),
                **dict.fromkeys(("mae", "l1", "l1loss"), "; here it is called 'absolute_error'"),
                **dict.fromkeys(("smoothl1loss", "huberloss"), "; here it is called 'huber'"),
                **dict.fromkeys(
                    ("categoricalcrossentropy", "sparsecategoricalcrossentropy", "nll", "nllloss"),
                    "; here it is called 'cross_entropy', of logits",
                ),
                **dict.fromkeys(
                    ("bce", "bceloss", "bcewithlogitsloss"),
                    "; here it is called 'binary_cross_entropy', of logits",
                ),
            },
        ),
        Kind(
            "metric",
            "nnlab.optim",
            "what is recorded beside the loss",
            label="name",
            elsewhere={
                "mae": "; here it is called 'mean_absolute_error'",
                **dict.fromkeys(("mse", "meansquarederror"), "; here is 'rmse', its root"),
                "rootmeansquarederror": "; here it is called 'rmse'",
                "r2score": "; here it is called 'r2'",
                "loss": "; it is recorded unasked: leave it out",
            },
        ),
        Kind("regularizer", "nnlab.optim", "a penalty on the weights, added to the loss"),
        Kind("constraint", "nnlab.optim", "what weights are brought back to after each step"),
        Kind("optimizer", "nnlab.optim", "how weights follow the gradient"),
        Kind(
            "schedule",
            "nnlab.optim",
            "the learning rate over time",
            shorthand={int: ("constant", "value"), float: ("constant", "value")},
        ),
        Kind(
            "stop",
            "nnlab.optim",
            "ends a training before its time",
            label="name",
            keys_elsewhere={"monitor": "metric"},
        ),
        Kind("solver", "nnlab.optim", "finds the last layer in closed form"),
        Kind("phenomenon", "nnlab.phenomena", "what a run or a sweep is examined for", label="name"),
        Kind("search", "nnlab.sweeps.search", "chooses the next trials of a sweep"),
    )
}


@functools.cache
def load_home(home: str) -> None:
    """Import every module of a kind's home, so that what is registered depends on nothing else."""
    package = importlib.import_module(home)
    for entry in pkgutil.walk_packages(package.__path__, f"{home}."):
        importlib.import_module(entry.name)
