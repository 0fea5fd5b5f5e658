"""What lies on disk: run directories, tables and checkpoints."""
