"""The trained generators that ship with the package."""

from pathlib import Path

from mnistgan.config import did_you_mean
from mnistgan.errors import RunError

PREFIX = "pretrained:"
DEFAULT = f"{PREFIX}best"
FOLDER = Path(__file__).parent


def pretrained() -> dict[str, Path]:
    """The files of the shipped generators by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.safetensors"))}


def pretrained_path(source: str) -> Path:
    """The file of `pretrained:NAME`. Raises RunError if there is no such generator."""
    known = pretrained()
    name = source.removeprefix(PREFIX)
    if name not in known:
        names = ", ".join(f"{PREFIX}{known_name}" for known_name in known)
        raise RunError(
            f"{source}: unknown; the shipped generators are {names}{did_you_mean(name, known)}"
        )
    return known[name]


def shown_source(path: Path) -> str:
    """The name of a generator for messages: `pretrained:NAME`, or the path of its file."""
    return f"{PREFIX}{path.stem}" if path.parent == FOLDER else str(path)
