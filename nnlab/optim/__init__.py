"""What a training minimizes and how: losses, penalties, optimizers, schedules, stopping criteria, solvers."""
