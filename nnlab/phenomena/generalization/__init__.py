"""What a net knows about examples that it was not trained on, and when."""
