"""Locations of data sets and judges: the environment and the user's cache folder."""

import os
from pathlib import Path

import platformdirs

DATA_VARIABLE = "MNISTGAN_DATA"


def data_root() -> Path | None:
    """The folder in $MNISTGAN_DATA, in the layout of torchvision, or None if it is not set."""
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder) if folder else None


def cache() -> Path:
    """The user's cache folder for mnistgan, according to the conventions of the system."""
    return platformdirs.user_cache_path("mnistgan")


def judges() -> Path:
    """The folder of the judges that were trained on this machine."""
    return cache() / "judges"
