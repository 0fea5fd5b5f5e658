"""What a training minimizes and how: losses, metrics, penalties, optimizers, schedules, stopping criteria, solvers."""
