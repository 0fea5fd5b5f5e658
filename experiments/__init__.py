"""The shipped experiments; installed as `nnlab.shipped`, from which `nnlab new` copies."""
