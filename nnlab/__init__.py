"""nnlab: a lab bench for the training of neural networks.

The modules follow the way of the data: `config` (YAML text to a checked config), `experiment` (config to
data, model and optimizer), `train` (compiled training to records), `store` (records to a run directory),
`report` and `check` (a run directory to figures and verdicts). `cli` is the door.
"""

__version__ = "0.1.0"
