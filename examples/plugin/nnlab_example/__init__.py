"""A plug-in for nnlab, as small as one that has a component of each common kind can be."""
