"""From an experiment file to a checked, complete config.

`document` reads the YAML, `base` merges it into the experiment that it is a variant of, `overrides` applies
the command line, `resolve` checks the tree against the components' signatures, `experiment_keys` names the
file's top-level keys, `training_keys` and `sweep_keys` those of its sections, `load` does all of it, and
`smoke` cuts an experiment short. `from_python` takes a dict in place of a file, `json_schema` describes the
file to editors, `split_roles` says which split selects weights and which one is reported.
"""

from nnlab.config.load import Config as Config
from nnlab.config.load import check_tree as check_tree
from nnlab.config.load import load as load
