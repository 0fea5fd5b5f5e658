"""Data sets, and what every data set goes through before training: split, noise, scaling."""
