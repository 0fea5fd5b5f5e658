"""nnlab: a lab bench for the training of neural networks.

The modules follow the way of the data: `config` (YAML text to a checked config), `experiment` (config to
data, model and optimizer), `train` (compiled training to records), `store` (records to a run directory),
`runner` (one run), `results` and `figures` (a run directory to tables and figures). `cli` is the door.
"""

__version__ = "0.1.0"
