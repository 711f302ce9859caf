"""Check whether training can work on this machine, and say how to fix what is wrong."""

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from shutil import disk_usage
from typing import Literal, NamedTuple

import psutil
import torch

from mnistgan import __version__, locations
from mnistgan.config import Config, Precision, load_config
from mnistgan.data import DATASETS, load_dataset
from mnistgan.devices import (
    MIN_WEIGHTS_FOR_BF16,
    GpuSoftware,
    available_bytes,
    available_devices,
    cpu_capability,
    cpu_name,
    gpu_software,
    resolve_device,
    resolve_precision,
    usable_cores,
)
from mnistgan.errors import DataError, MnistganError
from mnistgan.files import sync_file
from mnistgan.training.memory import training_bytes
from mnistgan.training.self_test import PRESET, largest_difference, self_test

State = Literal["ok", "warning", "problem"]
"""`problem`: training cannot work. `warning`: it works, but something is missing or slow."""
MOST_DIFFERENT: Mapping[Precision, float] = {"fp32": 0.02, "bf16": 0.1}
"""Largest difference from float32 on the CPU that is rounding: bf16 on a CPU differs by 0.018"""
PROBE_BYTES = 2**25
PIECE_BYTES = 2**20
SLOW_BYTES_PER_SECOND = 10e6
"""Speed of writing below which saving a checkpoint of 30 MB takes seconds"""
LEAST_FREE_BYTES = 2**30
SELECTOR = "https://pytorch.org/get-started/locally/"
CPU = torch.device("cpu")


class Result(NamedTuple):
    """What a check found."""

    state: State
    text: str
    fix: str | None = None
    """What to do about it"""


@dataclass(frozen=True)
class Finding:
    """The result of a check, with its name."""

    name: str
    state: State
    text: str
    fix: str | None


def doctor(runs: Path) -> Iterator[Finding]:
    """Run all checks, and yield each finding as soon as it is known. Uses no network.

    runs: the folder that would hold the runs. It stays as it is.
    """
    for name, check in checks(runs).items():
        yield Finding(name, *_result(check))


def checks(runs: Path) -> dict[str, Callable[[], Result]]:
    """The checks by name, in the order in which they run."""
    software = gpu_software()
    devices = available_devices()
    return {
        "versions": versions,
        "threads": lambda: threads(
            torch.get_num_threads(), usable_cores(), os.environ.get("OMP_NUM_THREADS")
        ),
        "CPU": lambda: cpu(f"{cpu_name()}, {cpu_capability()}", precision_of(CPU)),
        "memory": lambda: memory(
            available_bytes(CPU), psutil.virtual_memory().total, needed_bytes()
        ),
        "GPU driver": partial(gpu_driver, software),
        "devices": lambda: usable_devices(devices, resolve_device("auto")),
        **{f"GPU {device}": partial(gpu, device) for device in devices if device != CPU},
        **{
            f"self-test {device} {precision}": partial(compared_with_cpu, device, precision)
            for device in devices
            for precision in dict.fromkeys(("fp32", precision_of(device)))
        },
        "torchvision": torchvision,
        "cache": lambda: cache(locations.cache()),
        **{f"data {name}": partial(data_set, name) for name in DATASETS},
        "runs folder": partial(runs_folder, runs),
    }


def versions() -> Result:
    """The versions of the program, torch, Python and the system."""
    return Result(
        "ok",
        f"mnistgan {__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{platform.platform()}",
    )


def torchvision() -> Result:
    """Whether torchvision, which downloads data sets, fits torch."""
    fix = f"install torch and torchvision together, see {SELECTOR}"
    try:
        import torchvision.datasets  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        return Result("warning", f"cannot be imported: {_first_line(error)}", fix)
    return Result("ok", f"{version('torchvision')}, for downloads")


def threads(count: int, cores: int, variable: str | None) -> Result:
    """Whether torch uses more threads than there are cores. variable: $OMP_NUM_THREADS"""
    source = f", from OMP_NUM_THREADS={variable}" if variable else ""
    text = f"{count} on {cores} usable {'core' if cores == 1 else 'cores'}{source}"
    if count > cores:
        return Result("warning", f"{text}: this is slow", f"set OMP_NUM_THREADS={cores}")
    return Result("ok", text)


def cpu(name: str, precision: Precision) -> Result:
    """Model and instructions of the CPU, and the precision that follows."""
    large = f"networks of {MIN_WEIGHTS_FOR_BF16:,} weights or more"
    which = large if precision == "bf16" else "all networks"
    return Result("ok", f"{name}; training.precision=auto means {precision} for {which}")


def memory(free: int, total: int, needed: int) -> Result:
    """Whether the free memory is enough for the default preset. All numbers are bytes."""
    text = f"{_gib(free)} of {_gib(total)} free; {PRESET} needs {_gib(needed)} beside torch"
    if free < needed:
        return Result("problem", text, "end other programs, or reduce data.batch_size")
    return Result("ok", text)


class GpuCase(NamedTuple):
    """A possible state of the GPU's driver, and what to do about it."""

    applies: Callable[[GpuSoftware], bool]
    state: State
    text: str
    """Format string for the fields of GpuSoftware"""
    fix: str | None = None


GPU_CASES = (
    GpuCase(
        lambda found: found.gpus > 0 and not found.driver,
        "ok",
        "torch is built for {built_for}; GPUs that it can use: {gpus}",
    ),
    GpuCase(
        lambda found: found.gpus > 0,
        "ok",
        "torch is built for {built_for}, the driver supports {driver}; usable GPUs: {gpus}",
    ),
    GpuCase(
        lambda found: not found.built_for and not found.driver,
        "ok",
        "no NVIDIA driver; torch is built for the CPU only",
    ),
    GpuCase(
        lambda found: not found.built_for,
        "warning",
        "an NVIDIA driver for {driver} is loaded, but torch is built for the CPU only",
        f"install torch with CUDA, see {SELECTOR}",
    ),
    GpuCase(
        lambda found: not found.driver,
        "ok",
        "no NVIDIA driver; torch is built for {built_for} and uses the CPU",
    ),
    GpuCase(
        lambda found: _major(found.driver) < _major(found.built_for),
        "warning",
        "the driver supports {driver}, but torch is built for {built_for}, so it uses the CPU",
        f"update the driver, or install torch for an older CUDA, see {SELECTOR}",
    ),
    GpuCase(
        lambda found: True,
        "warning",
        "the driver supports {driver}, but torch for {built_for} finds no GPU: {complaint}",
        "compare nvidia-smi and the variable CUDA_VISIBLE_DEVICES",
    ),
)
"""In order of priority: the first case that applies is reported"""


def gpu_driver(software: GpuSoftware) -> Result:
    """Whether the driver of an NVIDIA GPU fits the CUDA that torch was built for."""
    case = next(case for case in GPU_CASES if case.applies(software))
    return Result(case.state, case.text.format(**vars(software)), case.fix)


def usable_devices(devices: Sequence[torch.device], default: torch.device) -> Result:
    """The devices that can be named with --device."""
    return Result("ok", f"{', '.join(map(str, devices))}; --device auto means {default}")


def gpu(device: torch.device) -> Result:
    """Name and free memory of a GPU."""
    if device.type != "cuda":
        return Result("ok", f"Apple GPU; {_gib(available_bytes(device))} of memory free")
    major, minor = torch.cuda.get_device_capability(device)
    free, total = torch.cuda.mem_get_info(device)
    return Result(
        "ok",
        f"{torch.cuda.get_device_name(device)}, compute capability {major}.{minor}, "
        f"{_gib(free)} of {_gib(total)} free",
    )


def compared_with_cpu(device: torch.device, precision: Precision) -> Result:
    """Whether two steps of G and D are finite, and the same as on the CPU apart from rounding."""
    done = self_test(device, precision)
    pace = f"{1000 * done.seconds:.0f} ms per step of {PRESET}"
    if (device, precision) == (CPU, "fp32"):
        return Result("ok", f"all losses and weights are finite; {pace}")
    difference = largest_difference(done, self_test(CPU, "fp32"))
    text = f"differs from fp32 on the CPU by {difference:.2g}; {pace}"
    if difference > MOST_DIFFERENT[precision]:
        fix = "train with training.precision=fp32" if device == CPU else "train with --device cpu"
        limit = MOST_DIFFERENT[precision]
        return Result("problem", f"{text}; expected {limit} at most", fix)
    return Result("ok", text)


def cache(folder: Path) -> Result:
    """Whether downloads and judges can be kept in the user's cache folder."""
    try:
        seconds_to_write(folder, PIECE_BYTES)
    except OSError as error:
        text = f"{folder}: cannot be written ({error.strerror}): nothing can be downloaded"
        return Result("warning", text, "make it writable, or set MNISTGAN_DATA to a folder of data")
    return Result("ok", f"{folder}{'' if folder.exists() else ': will be created when needed'}")


def data_set(name: str) -> Result:
    """Where a data set comes from. Nothing is downloaded, but all files at hand are checked."""
    try:
        train, _ = (load_dataset(name, split, dry_run=True) for split in ("train", "test"))
    except (DataError, OSError) as error:
        state: State = "problem" if name == Config().data.dataset else "warning"
        return Result(state, *_parts(error))
    return Result("ok", f"{len(train.images):,} training images, {train.source}")


def runs_folder(runs: Path) -> Result:
    """Whether runs can be written, how fast, and how much space is free."""
    elsewhere = "choose another folder with --runs"
    try:
        seconds = seconds_to_write(runs, PROBE_BYTES)
        free = disk_usage(_existing(runs)).free
    except OSError as error:
        return Result("problem", f"{runs}: cannot be written ({error.strerror})", elsewhere)
    speed = PROBE_BYTES / seconds
    text = f"{runs}: {speed / 1e6:,.0f} MB/s, {_gib(free)} free"
    if free < LEAST_FREE_BYTES:
        return Result("warning", f"{text}: may be too little for a run", elsewhere)
    if speed < SLOW_BYTES_PER_SECOND:
        return Result("warning", f"{text}: saving a checkpoint takes seconds", elsewhere)
    return Result("ok", text)


def precision_of(device: torch.device) -> Precision:
    """The precision that `auto` means for large networks."""
    return resolve_precision("auto", device, MIN_WEIGHTS_FOR_BF16)


def needed_bytes() -> int:
    """An estimate of the memory that the default preset needs for MNIST, in bytes."""
    return training_bytes(load_config(PRESET), channels=1, classes=10)


def seconds_to_write(folder: Path, size: int) -> float:
    """The time to write and sync `size` bytes in `folder`, or where it would be created.

    The file is temporary. Raises OSError.
    """
    piece = os.urandom(PIECE_BYTES)
    with tempfile.TemporaryFile(dir=_existing(folder)) as file:
        started_at = time.perf_counter()
        for _ in range(size // PIECE_BYTES):
            file.write(piece)
        sync_file(file)
        return time.perf_counter() - started_at


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists."""
    path = folder.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _result(check: Callable[[], Result]) -> Result:
    """The result of a check. An error is a problem, and torch's warnings are left out."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return check()
    except (MnistganError, OSError, RuntimeError) as error:
        return Result("problem", *_parts(error))


def _parts(error: Exception) -> tuple[str, str | None]:
    """The problem and what to do, from the first line of an error."""
    problem, _, fix = _first_line(error).partition("; ")
    return problem, fix or None


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _major(version_text: str) -> int:
    """The major version in a text such as `CUDA 13.2`."""
    return int(version_text.split()[-1].partition(".")[0])
