"""Output on a terminal: streams, progress bars, tables and small pictures."""
