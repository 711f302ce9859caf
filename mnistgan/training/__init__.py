"""One training step and its parts: losses, penalties, optimizers, averaging."""
