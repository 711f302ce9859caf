"""Errors that a user can cause. The command line prints the message and exits with its code."""

import sys
from collections.abc import Sequence


class MnistganError(Exception):
    """Base class. The message says what was found, what was expected and what to do next."""

    exit_code = 1


class CommandLineError(MnistganError):
    """The command line is wrong, whatever the files on the disk contain."""

    exit_code = 2


class ConfigError(MnistganError):
    """A configuration file or an override is invalid."""


class OverrideError(ConfigError, CommandLineError):
    """A KEY=VALUE word on the command line is invalid."""


class DataError(MnistganError):
    """A data set is missing or damaged."""


class RunError(MnistganError):
    """A folder is not a run, a run is in use, or a run lacks the requested files."""


class RunNameError(RunError, CommandLineError):
    """The name of a new run is not allowed."""


class CheckpointError(MnistganError):
    """A checkpoint is damaged, was not written by mnistgan, or does not fit its configuration."""


class OutputError(MnistganError):
    """A file or folder cannot be written, or a file type is not supported."""


class OutputNameError(OutputError, CommandLineError):
    """A name for an output does not say what to write."""


class DeviceError(MnistganError):
    """A device is not available on this machine or in this build of torch."""


class UnknownDeviceError(DeviceError, CommandLineError):
    """A device has a name that no machine has."""


class MissingExtraError(MnistganError):
    """A package that only some users need is not installed."""


class ConversionError(MnistganError):
    """A generator has a part that only torch can compute, or is too large for a page."""


class NonFiniteError(MnistganError):
    """A loss or a weight became infinite or NaN during training."""


class LostProcessError(MnistganError):
    """Another process of the same training has ended or does not respond."""


class ReportedElsewhereError(MnistganError):
    """Another process of the same training reports the problem; this one ends without a message."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("another process of this training reports the problem")
        self.exit_code = exit_code


class PluginError(MnistganError):
    """A plugin cannot be used or is missing."""


class MissingPluginError(PluginError):
    """A run or a checkpoint needs plugins that the command line does not name."""

    def __init__(self, message: str, plugins: Sequence[str]) -> None:
        super().__init__(message)
        self.plugins = plugins
        """File names of the missing plugins"""


def lacks_memory(error: Exception) -> bool:
    """Whether Python, a device or the CPU is out of memory. torch has no error type for the CPU."""
    device_error = getattr(sys.modules.get("torch"), "OutOfMemoryError", ())
    return isinstance(error, (MemoryError, device_error)) or "DefaultCPUAllocator: " in str(error)
