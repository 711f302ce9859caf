"""The presets that ship with the package, and the lookup of `--config`."""

from pathlib import Path

import mnistgan
from mnistgan.config.suggestions import did_you_mean
from mnistgan.errors import ConfigError


def presets() -> dict[str, Path]:
    """The presets by name, from `presets/` of an installed package or `configs/` of a checkout."""
    package = Path(mnistgan.__file__).parent
    folders = (package / "presets", package.parent / "configs")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def preset_path(name: str) -> Path:
    """The file of a preset. Raises ConfigError if the preset is unknown."""
    known = presets()
    if name not in known:
        raise ConfigError(f"{name}: unknown preset; {_known(name)}")
    return known[name]


def summary_of(path: Path) -> str:
    """The comment in the first line of a preset."""
    with path.open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()


def _known(name: str) -> str:
    known = presets()
    return f"the presets are {', '.join(known)}{did_you_mean(name, known)}"


def find_config(source: str) -> Path:
    """The file `source`, or the preset of that name. Raises ConfigError if there is neither."""
    if Path(source).is_file():
        return Path(source)
    known = presets()
    if source in known:
        return known[source]
    stem = Path(source).stem
    if Path(source).is_dir():
        raise ConfigError(f"--config {source}: is a folder; expected a YAML file or a preset")
    hint = f"the preset of that name is --config {stem}" if stem in known else _known(stem)
    raise ConfigError(f"--config {source}: there is no such file; {hint}")
