"""What a model that draws examples has learnt of those that it was trained on."""
