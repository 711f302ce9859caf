"""The use cases, one file per command. They return or yield small records and never print."""
