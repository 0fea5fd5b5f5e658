"""The command line: words in, calls of the package, words out."""
