"""Properties of this machine: devices, bfloat16 instructions, a C++ compiler, memory."""

import ctypes
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from mnistgan.config import Compilation, Precision
from mnistgan.errors import ConfigError, DeviceError, UnknownDeviceError

MIN_WEIGHTS_FOR_BF16 = 300_000
"""Number of weights of both networks below which casts cost more than bf16 saves (measured)"""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 2**30


def resolve_device(name: str) -> torch.device:
    """The device for `auto` (CUDA if available, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises UnknownDeviceError, or DeviceError if the device is not available. Work that was meant
    for a GPU never runs silently on the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (name not in ("cpu", "mps") and device.type != "cuda"):
        raise UnknownDeviceError(
            f"--device {name}: unknown; expected auto, cpu, cuda, cuda:N or mps"
        )
    available = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device.type]:
        raise DeviceError(
            f"--device {name}: not available on this machine or in this build of torch"
        )
    return device


def resolve_precision(wanted: Precision, device: torch.device, weights: int) -> Precision:
    """The precision for `wanted`. `auto` means bf16 if that is expected to be faster, else fp32.

    It is if the device has bf16 instructions (without them, bf16 is many times slower than fp32)
    and both networks together have at least MIN_WEIGHTS_FOR_BF16 weights. Nothing is timed, so the
    same command on the same machine gives the same weights.
    """
    if wanted != "auto":
        return wanted
    has_instructions: dict[str, Callable[[], bool]] = {
        "cpu": torch.cpu._is_avx512_bf16_supported,
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "mps": lambda: False,
    }
    enough = weights >= MIN_WEIGHTS_FOR_BF16
    return "bf16" if enough and has_instructions[device.type]() else "fp32"


def resolve_compilation(wanted: Compilation) -> Compilation:
    """`auto` means off, because torch.compile made no training step faster on the CPU (measured).

    Raises ConfigError if `wanted` is on and there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if wanted == "on" and shutil.which(compiler) is None:
        raise ConfigError(
            f"training.compile: on needs a C++ compiler, and {compiler} was not found; "
            "leave it at auto, or set the environment variable CXX to a compiler"
        )
    return "on" if wanted == "on" else "off"


def resolve_threads(wanted: int | Literal["auto"]) -> int:
    """The number of CPU threads. `auto` keeps the number that torch chose when it started.

    That is the number of cores that this process may use, or $OMP_NUM_THREADS.
    """
    return torch.get_num_threads() if wanted == "auto" else wanted


def available_devices() -> list[torch.device]:
    """The CPU and each GPU that this build of torch can use."""
    gpus = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    apple = ["mps"] * torch.backends.mps.is_available()
    return [torch.device(name) for name in ("cpu", *(f"cuda:{gpu}" for gpu in gpus), *apple)]


@dataclass(frozen=True)
class GpuSoftware:
    """What torch was built for, and the driver of NVIDIA's GPUs."""

    built_for: str
    """Such as `CUDA 13.2`; "" for a build for the CPU"""
    driver: str
    """The newest CUDA that the driver supports, such as `CUDA 12.4`; "" if no driver is loaded"""
    gpus: int
    """Number of GPUs that torch can use"""
    complaint: str = ""
    """What torch says if it can use none"""


def gpu_software() -> GpuSoftware:
    """The facts about GPUs. Call it before other functions of torch.cuda: torch complains once."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    versions = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    built_for = [f"{name} {version}" for name, version in versions.items() if version]
    return GpuSoftware(
        built_for="".join(built_for),
        driver=_driver(),
        gpus=gpus,
        complaint=" ".join(" ".join(str(item.message).split()) for item in complaints),
    )


def _driver() -> str:
    """The newest CUDA that NVIDIA's driver supports, or "" if no driver is installed."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ""
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))  # 12040 for 12.4; needs no initialization
    return f"CUDA {number.value // 1000}.{number.value % 1000 // 10}" if number.value else ""


def usable_cores() -> int:
    """The number of CPU cores, or hardware threads, that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_name() -> str:
    """The model of the CPU, or its architecture if the system does not tell the model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def cpu_capability() -> str:
    """The instructions that torch uses on this CPU, such as `AVX512 AVX512_BF16 AMX`."""
    more = {
        "AVX512_BF16": torch.cpu._is_avx512_bf16_supported,
        "AMX": torch.cpu._is_amx_tile_supported,
    }
    found = [name for name, is_supported in more.items() if is_supported()]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *found])


def available_bytes(device: torch.device) -> int:
    """The free memory of `device` in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def keep_freed_memory() -> None:
    """Let the C library reuse up to a gigabyte of freed memory for later allocations.

    By default glibc returns each large tensor to the system and requests new memory for the next
    one. The system zeroes the new pages at first use, which takes a third of a step of `dcgan`.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        # Older glibc allows at most 32 MiB for M_MMAP_THRESHOLD. M_TRIM_THRESHOLD alone would be
        # slower than the default.
        if mallopt is not None and (
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(M_MMAP_THRESHOLD, 2**25)
        ):
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
