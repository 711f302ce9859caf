"""Errors that a user can cause. The command line prints the message and exits with code 1."""

from collections.abc import Sequence


class MnistganError(Exception):
    """Base class. The message says what was found, what was expected and what to do next."""


class ConfigError(MnistganError):
    """A configuration file or an override is invalid."""


class DataError(MnistganError):
    """A data set is missing or damaged."""


class RunError(MnistganError):
    """A folder is not a run, a run is in use, or a run lacks the requested files."""


class CheckpointError(MnistganError):
    """A checkpoint is damaged, was not written by mnistgan, or does not fit its configuration."""


class OutputError(MnistganError):
    """A file or folder cannot be written, or a file type is not supported."""


class DeviceError(MnistganError):
    """A device is unknown or not available on this machine or in this build of torch."""


class NonFiniteError(MnistganError):
    """A loss or a weight became infinite or NaN during training."""


class PluginError(MnistganError):
    """A plugin cannot be used or is missing."""


class MissingPluginError(PluginError):
    """A run or a checkpoint needs plugins that the command line does not name."""

    def __init__(self, message: str, plugins: Sequence[str]) -> None:
        super().__init__(message)
        self.plugins = plugins
        """File names of the missing plugins"""
