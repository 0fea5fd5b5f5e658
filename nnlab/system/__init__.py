"""The operating system: files that are whole or not there, the device, random numbers, late imports."""
