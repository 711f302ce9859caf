"""Where this machine keeps data sets: the environment and the user's cache folder."""

import os
from pathlib import Path

import platformdirs

DATA_VARIABLE = "MNISTGAN_DATA"


def data_root() -> Path | None:
    """The folder that $MNISTGAN_DATA names, laid out as torchvision does, if it is set."""
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder) if folder else None


def cache() -> Path:
    """The cache folder of this user, by the rules of the system."""
    return platformdirs.user_cache_path("mnistgan")


def judges() -> Path:
    """Where the judges are kept that this machine has trained."""
    return cache() / "judges"
