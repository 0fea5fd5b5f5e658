"""Engines run the trials of a sweep: on worker processes (`workers`) that a launcher starts (`launchers`)."""
