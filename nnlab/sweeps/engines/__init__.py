"""What runs the trials of a sweep: processes of this machine (`local`)."""
