"""What is checked of README and docs."""
