"""Commands of the maintainers: python -m mnistgan.maintain."""
