"""Engines run the trials of a sweep: on worker processes (`workers`) that a launcher starts, here, by
a command (`launchers`) or as actors of Ray (`ray_launcher`)."""
