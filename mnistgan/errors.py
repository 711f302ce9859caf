"""What a user can cause. The edge prints the message, one clear sentence, and exits with 1."""

from collections.abc import Sequence


class MnistganError(Exception):
    """The root of the family: a full sentence that says what was found and what to do next."""


class ConfigError(MnistganError):
    """A configuration file or an override that does not describe a training."""


class DataError(MnistganError):
    """A data set that is missing or damaged."""


class RunError(MnistganError):
    """A folder that is no run, a run in use, or a run without what was asked of it."""


class CheckpointError(MnistganError):
    """A checkpoint that is damaged, foreign, or does not fit its configuration."""


class OutputError(MnistganError):
    """A place or a file type that cannot be written."""


class DeviceError(MnistganError):
    """A device that this machine or this build of torch does not have."""


class NonFiniteError(MnistganError):
    """A training that left the finite numbers."""


class PluginError(MnistganError):
    """A plugin that cannot be used, or one that is missing."""


class MissingPluginError(PluginError):
    """A run or a checkpoint that was made with plugins that the command line does not name."""

    def __init__(self, message: str, plugins: Sequence[str]) -> None:
        super().__init__(message)
        self.plugins = plugins
        """Their file names"""
