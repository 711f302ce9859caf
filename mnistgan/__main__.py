"""`mnistgan`, and `python -m mnistgan`."""

from mnistgan.cli import app


def main() -> None:
    app(prog_name="mnistgan")


if __name__ == "__main__":
    main()
