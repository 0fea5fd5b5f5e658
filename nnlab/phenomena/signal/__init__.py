"""How activations and gradients travel through the layers."""
