"""What a net knows of examples that it was not trained on, and when."""
