"""Training: the one loop, optimizers and their schedules, several runs side by side, stopping in
good order.
"""
