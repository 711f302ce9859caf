"""The report: one HTML page about a run, or a comparison of several runs."""
