"""nnlab: a lab bench for the training of neural networks.

    import nnlab

    run = nnlab.train(nnlab.load("experiments/grokking_mod31.yaml"))
    run.check()              # do the file's expectations hold?
    run.figure("grokking")   # a matplotlib figure
    run.predict(inputs)      # the trained model on new inputs

All names below are imported at their first use, so that `import nnlab` costs nothing. Errors are exceptions
with the words of the command line, `NnlabError` and those below it in `nnlab.errors`; nothing is printed
unless it is asked for.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnlab.config.from_python import experiment as experiment
    from nnlab.config.from_python import load as load
    from nnlab.config.load import Config as Config
    from nnlab.errors import ConfigError as ConfigError
    from nnlab.errors import DiskError as DiskError
    from nnlab.errors import DriftError as DriftError
    from nnlab.errors import Interrupted as Interrupted
    from nnlab.errors import InvalidValue as InvalidValue
    from nnlab.errors import NnlabError as NnlabError
    from nnlab.errors import RunStatus as RunStatus
    from nnlab.errors import UsageError as UsageError
    from nnlab.registry import register as register
    from nnlab.reports.report import report as report
    from nnlab.reports.server import watch as watch
    from nnlab.runs.catalogue import find_runs as find_runs
    from nnlab.runs.expectations import Verdict as Verdict
    from nnlab.runs.expectations import Verdicts as Verdicts
    from nnlab.runs.export import export_tables as export_tables
    from nnlab.runs.export import export_tensorboard as export_tensorboard
    from nnlab.runs.interpolation import interpolate as interpolate
    from nnlab.runs.removal import remove as remove
    from nnlab.runs.results import Run as Run
    from nnlab.runs.results import Sweep as Sweep
    from nnlab.runs.results import open as open
    from nnlab.runs.train import train as train
    from nnlab.sweeps.cross_validation import CrossValidation as CrossValidation
    from nnlab.sweeps.cross_validation import cross_validate as cross_validate
    from nnlab.sweeps.plan import Plan as Plan
    from nnlab.sweeps.sweep import plan_sweep as plan_sweep
    from nnlab.sweeps.sweep import sweep as sweep

__version__ = "0.1.0"

_MODULES = {
    "Config": "nnlab.config.load",
    "ConfigError": "nnlab.errors",
    "CrossValidation": "nnlab.sweeps.cross_validation",
    "DiskError": "nnlab.errors",
    "DriftError": "nnlab.errors",
    "Interrupted": "nnlab.errors",
    "InvalidValue": "nnlab.errors",
    "NnlabError": "nnlab.errors",
    "Plan": "nnlab.sweeps.plan",
    "Run": "nnlab.runs.results",
    "RunStatus": "nnlab.errors",
    "Sweep": "nnlab.runs.results",
    "UsageError": "nnlab.errors",
    "Verdict": "nnlab.runs.expectations",
    "Verdicts": "nnlab.runs.expectations",
    "cross_validate": "nnlab.sweeps.cross_validation",
    "experiment": "nnlab.config.from_python",
    "export_tables": "nnlab.runs.export",
    "export_tensorboard": "nnlab.runs.export",
    "find_runs": "nnlab.runs.catalogue",
    "interpolate": "nnlab.runs.interpolation",
    "load": "nnlab.config.from_python",
    "open": "nnlab.runs.results",
    "plan_sweep": "nnlab.sweeps.sweep",
    "register": "nnlab.registry",
    "report": "nnlab.reports.report",
    "remove": "nnlab.runs.removal",
    "sweep": "nnlab.sweeps.sweep",
    "train": "nnlab.runs.train",
    "watch": "nnlab.reports.server",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'nnlab' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
