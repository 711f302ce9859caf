"""The step of the game, and what it is made of."""
