"""Closed-form studies: the last layer is solved for on fixed features, in float64.

What of the model comes before its last dense layer is a fixed feature map at its first weights. Where its
layers compute with NumPy's arrays, as in linear, polynomial and random Fourier regression, JAX has no part
in it; else it is compiled once for a model and shape, the weights being its arguments.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
from threadpoolctl import ThreadpoolController

from nnlab.config.split_roles import reported_split
from nnlab.data.examples import Examples
from nnlab.nn.combinators import sequential
from nnlab.nn.features import NUMPY_LAYERS
from nnlab.nn.layer import Shape, Tree, Variable, VariableCollection
from nnlab.optim.metrics import added_metrics
from nnlab.optim.solvers import Solution
from nnlab.registry import build, spell_out
from nnlab.system.imports import Array, PyTree, jax, jnp
from nnlab.training.experiment import SolvedExperiment
from nnlab.training.predictions import predictions_table
from nnlab.training.record_tables import Chunk, Table

MAXIMUM_FEATURE_MAPS = 64  # so many compiled feature maps are kept


def fit(experiment: SolvedExperiment) -> Iterator[Chunk]:
    """Solve for the last layer, in place of `train`.

    Args:
        experiment: One with a solver.

    Yields:
        One chunk, at step 0.
    """
    began = time.perf_counter()
    loss = spell_out("loss", experiment.config.tree["loss"])
    low = loss[1].get("low", 0.0) if loss else 0.0
    targets = {name: _targets(part, low) for name, part in experiment.data.splits.items()}
    with _blas_threads().limit(limits=1, user_api="blas"):
        features, compiling = _features(experiment)
        solution = experiment.solver.solve(features["train"], targets["train"])
        outputs = {
            name: (values if name == "train" else solution.project(values)) @ solution.kernel
            for name, values in features.items()
        }
    metrics = _metrics(experiment, solution, outputs, targets)
    tables = {"metrics": metrics}
    if experiment.plan.record.predictions:
        tables["predictions"] = predictions_table(experiment.data, outputs)
    if any(phenomenon.reads_directions for phenomenon in experiment.plan.run_phenomena):
        tables["directions"] = _directions(solution, features, targets)
    finite = all(np.isfinite(column).all() for name, column in metrics.items() if name.endswith("_loss"))
    yield Chunk(0, tables, finite, True, time.perf_counter() - began, compiling)


@functools.cache
def _blas_threads() -> ThreadpoolController:
    """NumPy's linear algebra gets one thread: the numbers are the same on any machine's number of cores, and
    two processes on two cores do not wait for each other (150 x 150 then took 700 ms in place of 7)."""
    return ThreadpoolController()


def _metrics(
    experiment: SolvedExperiment,
    solution: Solution,
    outputs: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
) -> Table:
    """The one row of the table `metrics`, float64."""
    _, loss = spell_out("loss", experiment.config.tree["loss"]) or ("", {})
    row: dict[str, float | np.floating] = {"epoch": 0.0}
    with np.errstate(over="ignore", invalid="ignore"):  # `finite` says so
        for name, part in experiment.data.splits.items():
            errors = np.square(outputs[name] - targets[name])
            per_example = errors.sum(1) if loss["outputs"] == "sum" else errors.mean(1)
            row[f"{name}_loss"] = per_example.mean()
            if part.classes:
                row[f"{name}_accuracy"] = (outputs[name].argmax(1) == part.targets).mean()
            for metric in added_metrics(experiment.plan.metrics, part.classes):
                wanted = part.targets if part.classes else targets[name]
                with jax.enable_x64(True):
                    value = metric.of(experiment.plan.loss, jnp.asarray(outputs[name]), jnp.asarray(wanted))
                row[f"{name}_{metric.title}"] = float(value)
        row["weight_norm"] = np.linalg.norm(solution.kernel)
    row["smallest_singular_value"] = solution.singular_values[-1]
    return {"step": np.zeros(1, np.int32)} | {k: np.array([v], np.float64) for k, v in row.items()}


def _directions(
    solution: Solution, features: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
) -> Table:
    """The table `directions`: a row for each direction of the training features, by falling singular value.

    singular_value: s_r.
    gain: What the solver multiplies the targets along u_r by, 1 / s_r but for its penalty and cutoff.
    target: The targets along u_r, root mean square over outputs.
    residual: What the best linear model leaves of them. That model is the least-squares fit to the held-out
    examples, NaN where they are no more than the features.
    test_feature: Root mean square of the held-out features along v_r, as the solver projects them.
    """
    held_out = reported_split(features)
    others, outputs = features[held_out], targets[held_out].shape[1]
    best = np.full((others.shape[1], outputs), np.nan)
    if len(others) > others.shape[1] and np.isfinite(others).all():
        best = np.linalg.lstsq(others, targets[held_out], rcond=None)[0]
    residual = solution.left.T @ (targets["train"] - features["train"] @ best)
    along = solution.project(others) @ solution.right.T
    count = len(solution.gains)
    return {
        "step": np.zeros(count, np.int32),
        "direction": np.arange(1, count + 1),
        "singular_value": solution.singular_values,
        "gain": solution.gains,
        "target": np.sqrt(np.square(solution.left.T @ targets["train"]).mean(1)),
        "residual": np.sqrt(np.square(residual).mean(1)),
        "test_feature": np.sqrt(np.square(along).mean(0)),
    }


def _targets(examples: Examples, low: float) -> np.ndarray:
    """`[N, K]` float64; of a class 1, of the others `low`."""
    if examples.classes:
        return np.where(np.eye(examples.classes, dtype=bool)[examples.targets], 1.0, low)
    return examples.targets.astype(np.float64)


def _features(experiment: SolvedExperiment) -> tuple[dict[str, np.ndarray], float]:
    """What the last layer gets, `[N, P]` by split, and the seconds that went into compiling."""
    inputs = {name: np.asarray(part.inputs, np.float64) for name, part in experiment.data.splits.items()}
    layers = experiment.model.layer.layers[:-1]
    if not layers:
        return inputs, 0.0
    names = list(experiment.model.setup.children)[:-1]
    params, state = (_as_float64(tree, names) for tree in experiment.first_weights())
    features: PyTree = np.concatenate(list(inputs.values()))
    began, compiling = time.perf_counter(), 0.0
    if all(layer.type in NUMPY_LAYERS for layer in layers):
        for name, layer in zip(names, layers, strict=True):
            features = layer.apply({}, state.get(name, {}), features, key=None, train=False).value
    else:
        with jax.enable_x64(True):
            feature_map = _feature_map(json.dumps(experiment.config.tree["model"]), features.shape)
            compiling = time.perf_counter() - began
            features = np.asarray(feature_map(params, state, features))
    ends = np.cumsum([len(x) for x in inputs.values()])[:-1]
    return dict(zip(inputs, np.split(features, ends), strict=True)), compiling


@functools.lru_cache(MAXIMUM_FEATURE_MAPS)
def _feature_map(model: str, shape: Shape) -> Callable[[Tree, Tree, np.ndarray], Array]:
    """(params, state, inputs of a shape) -> features, compiled; the model is written as JSON."""
    chain = sequential([build("layer", json.loads(model))])
    head = sequential(list(chain.layers[:-1]))
    setup = head.setup(shape[1:])

    def apply(params: Tree, state: Tree, x: Array) -> Array:
        return head.apply(params, state, x, key=jax.random.key(0), train=False).value

    def shapes(part: VariableCollection) -> Tree:
        return jax.tree.map(
            lambda variable: jax.ShapeDtypeStruct(variable.shape, np.float64),
            setup.variables(part),
            is_leaf=lambda entry: isinstance(entry, Variable),
        )

    inputs = jax.ShapeDtypeStruct(shape, np.float64)
    return jax.jit(apply).lower(shapes("params"), shapes("state"), inputs).compile()


def _as_float64(tree: Tree, names: Collection[str] | None = None) -> Tree:
    """A tree of arrays in float64, or the entries of these names."""
    return {
        name: _as_float64(entry) if isinstance(entry, Mapping) else entry.astype(np.float64)
        for name, entry in tree.items()
        if names is None or name in names
    }
