"""What a training minimizes and how: losses and metrics, penalties, optimizers, schedules, stops, solvers."""
