"""The operating system: atomic file writes, the device, random numbers, lazy imports."""
