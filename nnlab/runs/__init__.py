"""One run from its experiment to its directory, its verdict and its figures."""
