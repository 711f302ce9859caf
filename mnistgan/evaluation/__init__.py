"""Scores of generated digits: a judge, what it sees in real ones, and the metrics between them."""
