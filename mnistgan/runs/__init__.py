"""Runs: the run folder, the session that trains it, and the training loop."""
