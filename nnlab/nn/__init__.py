"""Layers, activations and initializers, and the model that they make up."""
