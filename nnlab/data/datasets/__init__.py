"""The data sets, one module a source."""
