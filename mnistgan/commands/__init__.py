"""The use cases, one file a command: they return or yield small records and never print."""
