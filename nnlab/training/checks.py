"""Checks that the parts of an experiment fit together. Each names the place in the file that does not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.config.training_keys import Prune
from nnlab.data.augment import check_mixing
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue, KeyPath
from nnlab.nn.layer import path_matches
from nnlab.nn.model import Model
from nnlab.nn.permutation import dense_chain
from nnlab.optim.metrics import Better, metric_columns, task_of
from nnlab.registry import build, components
from nnlab.system.memory import available_bytes
from nnlab.text import format_bytes, join_words, suggestion
from nnlab.training.input_values import check_augmented_values, check_input_values
from nnlab.training.memory import Footprint, largest_layers
from nnlab.training.outputs import check_outputs

TASK_WORDS = {
    "classes": "classes",
    "labels": "labels of 0 and 1 under binary_cross_entropy",
    "values": "targets that are values",
}


@contextlib.contextmanager
def blame(config: Config, *path: str | int) -> Iterator[None]:
    """Turn an error about values into one about a part of the file.

    Raises:
        ConfigError: A value does not fit, or memory is short.
    """
    try:
        yield
    except InvalidValue as error:
        raise config.error((*path, *error.at), str(error)) from None
    except MemoryError:
        raise config.error(path, "needs more memory than there is") from None


def check_data_and_model(config: Config, plan: ExperimentPlan, data: Data, model: Model) -> None:
    """Check that model, loss, phenomena and expectations suit the data.

    Args:
        config: The config.
        plan: Its components, built.
        data: Its data.
        model: Its model, set up for the data.

    Raises:
        ConfigError: One does not; the message names its place in the file.
    """
    if not any("kernel" in leaf.params for _, leaf in model.setup.leaves()):
        raise config.error(("model",), "has no kernel to train; give it a layer such as dense")
    check_input_values(config, data, model)
    check_outputs(config, plan, data, model)
    if data.train.positions:
        _check_positions(config, plan)
    _check_metrics(config, plan, data)
    check_expectations(config, plan, data)
    for position, phenomenon in enumerate(plan.phenomena):
        if not phenomenon.spans_sweep:
            with blame(config, "phenomena", position):
                phenomenon.validate(model.setup, data)


def check_training(config: Config, plan: ExperimentPlan, data: Data, model: Model, batch_size: int) -> None:
    """Check that stopping criteria, parameter groups, batches and augmentations suit model and data.

    Args:
        config: The config.
        plan: Its components, built.
        data: Its data.
        model: Its model, set up for the data.
        batch_size: Examples of a step.

    Raises:
        ConfigError: One does not; the message names its place in the file.
    """
    _check_stops(config, plan, data)
    _check_schedules(config, plan, data)
    _check_groups(config, plan, model)
    _check_normalization(config, plan, model, batch_size)
    if plan.train is not None and plan.train.devices != "all":
        check_batch_devices(config, batch_size, plan.train.devices)
    _check_augment(config, plan, data, model, batch_size)


def check_batch_devices(config: Config, batch_size: int, devices: int) -> None:
    """Each device must get as many examples of a batch. Raises ConfigError."""
    if batch_size % devices:
        nearest = [
            size for size in (batch_size // devices * devices, -(-batch_size // devices) * devices) if size
        ]
        raise config.error(
            ("train", "devices"),
            f"{devices} devices cannot have equal parts of a batch of {batch_size} examples; let "
            f"data.batch_size be {join_words([str(size) for size in nearest], 'or')}",
        )


def check_pruning(config: Config, prune: Prune, layers: list[str], round_steps: int) -> None:
    """Rounds go back to a step before their end, and layers of other fractions are among those pruned.

    Raises:
        ConfigError: It is not so.
    """
    if prune.rewind and prune.rewind >= round_steps:
        message = f"is {prune.rewind}, and a round ends at step {round_steps}; let it be smaller"
        raise config.error(("prune", "rewind"), message)
    for pattern in prune.layers:
        if not any(path_matches(path, [pattern]) for path in layers):
            near = suggestion(pattern, layers) or ";"
            message = f"no layer with a kernel that is trained is '{pattern}'{near} there are "
            raise config.error(("prune", "layers", pattern), message + join_words(layers, "and"))


def check_solver(config: Config, model: Model) -> None:
    """A solver finds the kernel of a last dense layer, for the squared error.

    Raises:
        ConfigError: The loss or the last layer is another.
    """
    loss = config.tree["loss"]
    if (loss if isinstance(loss, str) else loss["type"]) != "squared_error":
        raise config.error(("loss",), "a solver makes the squared error small; give loss: squared_error")
    *_, (path, last) = model.setup.children.items()
    if last.type != "dense" or "bias" in last.params:
        raise config.error(
            ("model",),
            f"a solver finds the kernel of a last dense layer with use_bias: false; the last one is '{path}'"
            + (" with a bias; a constant among the features does its work" if "bias" in last.params else ""),
        )


def check_streaming(config: Config, plan: ExperimentPlan) -> None:
    """Where inputs stay in their file, nothing may need all of them at once.

    Raises:
        ConfigError: Something does.
    """
    train, phenomena = plan.train, enumerate(plan.phenomena)
    needs: list[tuple[KeyPath, object]] = [
        (("data", "batch_size"), not plan.data.batch_size),
        (("metrics",), plan.metrics),
        (("record", "predictions"), plan.record.predictions),
        (("solver",), plan.solver),
        (("train", "cache_frozen"), train and train.cache_frozen),
        *((("phenomena", n), not one.spans_sweep and one.looks_at_examples) for n, one in phenomena),
    ]
    for path, needed in needs:
        if needed:
            message = "needs all inputs at once, and they are too large for memory and stay in their file; "
            raise config.error(path, message + "leave it out, or give data.limit")


def check_memory(config: Config, footprint: Footprint, precision: str) -> None:
    """Check that a training fits into memory.

    Args:
        config: The config.
        footprint: What its memory depends on.
        precision: `about`, or `at least` before the data are loaded.

    Raises:
        ConfigError: There is not enough free memory.
    """
    needed, free = footprint.additional_bytes, available_bytes()
    if free is not None and needed > free:
        raise config.error(
            ("model",),
            f"training needs {precision} {format_bytes(needed)} of memory and {format_bytes(free)} are free; "
            f"largest layers: {largest_layers(footprint.setup)}",
        )


def check_expectations(config: Config, plan: ExperimentPlan, data: Data) -> None:
    """Check that the metrics of `expect` are ones that a run will have.

    What is expected of the best trial of a search, the search checks itself.

    Args:
        config: The config.
        plan: Its components, built.
        data: Its data.

    Raises:
        ConfigError: A metric does not exist.
    """
    search = (config.tree["sweep"] or {}).get("method") is not None
    for key in config.tree["expect"]:
        message = _unknown_metric(key, plan, data)
        if message and not (search and key.startswith("best.")):
            raise config.error(("expect", key), message)


def check_lines(config: Config, data: Data, model: Model) -> None:
    """Check that what looks at lines between the trials of a sweep can. Raises ConfigError."""
    for position, phenomenon in enumerate(config.build().phenomena):
        if not (phenomenon.spans_sweep and phenomenon.between):
            continue
        with blame(config, "phenomena", position):
            if data.streamed:
                raise InvalidValue("needs all inputs at once, and they stay in their file; give data.limit")
            if phenomenon.between.match:
                dense_chain(model.setup)


def check_metric(config: Config, metric: str, plan: ExperimentPlan, data: Data) -> None:
    """Check that the metric of a search is one that a trial will have, and not of the test set.

    Args:
        config: The config of the sweep.
        metric: The metric of its search.
        plan: The components of a trial, built.
        data: The data of a trial.

    Raises:
        ConfigError: A trial will not have it, or it is of the test set.
    """
    message = _unknown_metric(metric, plan, data)
    if "test_" in metric:
        message = f"'{metric}' is of the test set, which never chooses anything; search by validation_..."
    if message:
        raise config.error(("sweep", "method"), message)


def _check_positions(config: Config, plan: ExperimentPlan) -> None:
    """What takes one target an example must not be asked for where there is one at each position."""
    needs: list[tuple[KeyPath, object]] = [
        (("record", "predictions"), plan.record.predictions),
        (("solver",), plan.solver),
    ]
    for path, needed in needs:
        if needed:
            message = "takes one target an example, and here is one at every position; leave it out"
            raise config.error(path, message)


def _check_normalization(config: Config, plan: ExperimentPlan, model: Model, batch_size: int) -> None:
    """Of one value the variance is 0, and nothing of it passes a batch_norm."""
    for path, leaf in model.setup.leaves():
        one = leaf.type == "batch_norm" and batch_size * math.prod(leaf.output_shape[:-1]) == 1
        if one and not plan.optimizer.frozen(path):
            raise config.error(
                ("data", "batch_size"),
                f"is {batch_size}, and {path} would take the variance of one value a feature, which is 0; "
                "let it be 2 or more, or take layer_norm",
            )


def _check_metrics(config: Config, plan: ExperimentPlan, data: Data) -> None:
    """Loss and metrics must suit the targets, and have a number on every split."""
    classes, targets = data.train.classes, {split: part.targets for split, part in data.splits.items()}
    for split, values in targets.items() if plan.loss.takes_probabilities and not classes else ():
        outside = values[(values < 0) | (values > 1)]
        if outside.size:
            raise config.error(
                ("loss",),
                f"takes targets from 0 to 1, and among those of the {split} split is {outside[0]:g}; scale "
                "them (min_max takes low and high), or let loss be squared_error",
            )
    task = task_of(plan.loss, classes, targets.values())
    for number, metric in enumerate(plan.metrics):
        with blame(config, "metrics", number):
            if task not in metric.tasks:
                suited = join_words([TASK_WORDS[suits] for suits in metric.tasks])
                suiting = [name for name in components("metric") if task in build("metric", name).tasks]
                raise InvalidValue(
                    f"{metric.name} is of {suited}; here are {TASK_WORDS[task]}, of which there is "
                    f"{join_words(suiting, 'and')}"
                )
            for split, values in targets.items():
                if why := metric.why_undefined(values.reshape(-1) if classes else values, classes):
                    raise InvalidValue(f"{metric.name} of the {split} split {why}")


def _check_stops(config: Config, plan: ExperimentPlan, data: Data) -> None:
    """The metrics of stopping criteria must be recorded."""
    columns = metric_columns(plan.metrics, data.splits, data.train.classes)
    for number, stop in enumerate(plan.train.stop if plan.train else ()):
        with blame(config, "train", "stop", number):
            if stop.metric.endswith("_accuracy") and not data.train.classes and stop.metric not in columns:
                raise InvalidValue(f"{stop.name} of an error needs classes; give it a loss to look at")
            _check_watched(stop.metric, stop.name, columns, data)
            better = columns[stop.metric]
            if stop.better not in (None, better):
                other = "reached" if better == "higher" else "threshold"
                raise InvalidValue(
                    f"{stop.name} is of a metric that is better the {stop.better} it is, and {stop.metric} "
                    f"is better the {better}; let it be {other}, or no_decrease, which takes either"
                )


def _check_schedules(config: Config, plan: ExperimentPlan, data: Data) -> None:
    """The metrics that schedules watch must be recorded."""
    columns = metric_columns(plan.metrics, data.splits, data.train.classes)
    places: list[KeyPath] = [(), *(("groups", number) for number in range(len(plan.optimizer.groups)))]
    for place, part in zip(places, (plan.optimizer, *plan.optimizer.groups), strict=True):
        if part.learning_rate is not None and part.learning_rate.metric:
            with blame(config, "optimizer", *place, "learning_rate"):
                _check_watched(part.learning_rate.metric, "the schedule", columns, data)


def _check_watched(metric: str, who: str, columns: Mapping[str, Better], data: Data) -> None:
    """A metric that training is steered by must be recorded. Raises InvalidValue."""
    split = metric.partition("_")[0]
    if split == "validation" and split not in data.splits:
        raise InvalidValue(f"{who} needs a {split} split; give data.split one")
    watched = [column for column in columns if not column.startswith("test_")]
    if metric not in watched:
        near = _not_asked_for(metric, columns) or suggestion(metric, watched) or ";"
        raise InvalidValue(
            f"{who} has no metric '{metric}' to look at{near} there are {join_words(watched, 'and')}",
            ("metric",),
        )


def _not_asked_for(column: str, columns: Iterable[str]) -> str:
    """What to say of a column of a metric that the file does not ask for; empty where it is of none."""
    titles = {known.partition("_")[2] for known in columns}
    title = column.partition("_")[2]
    of_title = [name for name in components("metric") if f"{title}_".startswith(f"{name}_")]
    asked_for = any(f"{known}_".startswith(f"{name}_") for known in titles for name in of_title)
    if not of_title or asked_for or title == "accuracy":
        return ""
    return f"; it is recorded where 'metrics' lists {of_title[0]} (`nnlab show metric {of_title[0]}`);"


def _check_groups(config: Config, plan: ExperimentPlan, model: Model) -> None:
    """Each group must contain a layer, and some layer must be left to train."""
    paths = [path for path, leaf in model.setup.leaves() if leaf.params or leaf.random]
    for number, group in enumerate(plan.optimizer.groups):
        for place, pattern in enumerate(group.patterns):
            if not any(path_matches(path, [pattern]) for path in paths):
                single = isinstance(group.layers, str)
                at = ("optimizer", "groups", number, "layers", *(() if single else (place,)))
                near = suggestion(pattern, paths) or ";"
                message = (
                    f"no layer with parameters is '{pattern}'{near} there are {join_words(paths, 'and')}"
                )
                raise config.error(at, message)
    if all(plan.optimizer.frozen(path) for path, leaf in model.setup.leaves() if leaf.params):
        raise config.error(("optimizer", "groups"), "freeze every layer; leave one to train")


def _check_augment(config: Config, plan: ExperimentPlan, data: Data, model: Model, batch_size: int) -> None:
    """Augmentations must suit the inputs."""
    first = next(path for path, leaf in model.setup.leaves())
    takes_tokens = any(leaf.vocabulary is not None for _, leaf in model.setup.leaves())
    for number, augmentation in enumerate(plan.augment):
        with blame(config, "augment", number):
            if augmentation.of_tokens != takes_tokens:
                changed, taken = ("tokens", "numbers") if augmentation.of_tokens else ("numbers", "tokens")
                message = f"{augmentation.name} changes {changed}, and {first} takes {taken}; leave it out"
                raise InvalidValue(message)
            augmentation.validate(data.train.inputs.shape[1:])
            check_augmented_values(augmentation, model)
            if augmentation.mixes and batch_size == 1:
                raise InvalidValue(
                    f"{augmentation.name} mixes examples of a batch, and there is one in it; let "
                    "data.batch_size be 2 or more"
                )
    with blame(config, "augment"):
        check_mixing(plan.augment)


def _unknown_metric(key: str, plan: ExperimentPlan, data: Data) -> str:
    """What is wrong with the name of a final or best metric; empty where nothing is."""
    best = list(metric_columns(plan.metrics, data.splits, data.train.classes))
    specific = ["smallest_singular_value"] if plan.solver is not None else ["learning_rate"]
    specific += ["grad_norm"] if plan.solver is None and plan.record.layers else []
    row = ["step", "epoch", *specific, *best, "weight_norm"]
    known = {"best": best, "final": row, "selected": row}
    prefix, _, number = key.partition(".")
    if prefix not in known or number in known[prefix]:
        return ""
    near = _not_asked_for(number, best) or suggestion(number, known[prefix]) or ";"
    return f"'{prefix}' has no number '{number}'{near} it has {', '.join(known[prefix])}"
