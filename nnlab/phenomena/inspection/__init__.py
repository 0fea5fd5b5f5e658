"""What one trained net does with single inputs."""
