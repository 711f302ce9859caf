"""Scores of generated digits: a judge, a reference of real digits, and the metrics."""
