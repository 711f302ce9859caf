"""Commands for maintainers: python -m mnistgan.maintain."""
