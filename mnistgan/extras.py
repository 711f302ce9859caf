"""Packages that only some users need, and the extras of the package that install them."""

from collections.abc import Sequence
from importlib.util import find_spec

from mnistgan.errors import MissingExtraError


def require(what: str, packages: Sequence[str]) -> None:
    """Raise MissingExtraError, naming `what` needs them, if some `packages` are not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{what}: needs {' and '.join(missing)}. Try: pip install {' '.join(missing)}"
        )
