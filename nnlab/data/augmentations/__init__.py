"""The augmentations, by what they change: positions or values."""
