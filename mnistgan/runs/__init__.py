"""A training on disk: its folder, its session, its loop."""
