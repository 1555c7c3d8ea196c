"""Training: the loop, optimizers and their schedules, runs side by side, orderly stopping."""
