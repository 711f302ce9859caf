"""Export the generator of a run or a checkpoint to a file for other programs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mnistgan.generator_file import SUFFIX, save_generator
from mnistgan.onnx_file import save_onnx
from mnistgan.runs.folder import check_output, find_checkpoint
from mnistgan.sampling import open_generator, read_state


@dataclass(frozen=True)
class Exported:
    checkpoint: Path
    out: Path


def export(ckpt: str | None, *, runs: Path, out: str, force: bool) -> Exported:
    """Write the generator in the format given by the suffix of `out`.

    The weights are the moving average if there is one. Raises RunError, CheckpointError,
    MissingExtraError if a package is not installed, and OutputError if `out` cannot be written.
    """
    path = find_checkpoint(ckpt, runs)
    target = check_output(out, tuple(WRITERS), reads=path, force=force)
    WRITERS[target.suffix.lower()](path, target)
    return Exported(path, target)


def _safetensors(path: Path, target: Path) -> None:
    open_generator(path, "cpu")  # raises CheckpointError if the contents do not fit together
    save_generator(target, read_state(path))


def _onnx(path: Path, target: Path) -> None:
    save_onnx(target, open_generator(path, "cpu"))


WRITERS: dict[str, Callable[[Path, Path], None]] = {SUFFIX: _safetensors, ".onnx": _onnx}
