"""What this machine offers: devices, instructions for bfloat16, memory that is kept."""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from typing import Literal

import psutil
import torch

from mnistgan.config import Compilation, Precision
from mnistgan.errors import ConfigError, DeviceError

MIN_WEIGHTS_FOR_BF16 = 300_000
"""Of both networks: below it the casts cost more than the products gain (measured)."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES = 2**30


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA where there is one, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises DeviceError for another name and for a device that this machine does not have: work that
    was meant for a GPU never lands silently on the CPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or (name not in ("cpu", "mps") and device.type != "cuda"):
        raise DeviceError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    available = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available[device.type]:
        raise DeviceError(f"--device {name}: this machine, or this build of torch, has none")
    return device


def resolve_precision(wanted: Precision, device: torch.device, weights: int) -> Precision:
    """What `auto` stands for: bf16 where the device has instructions for it and enough to multiply.

    The rule looks at the device and the number of weights alone, so that the same command gives the
    same weights; without those instructions bf16 is many times slower than fp32.
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
    """`auto` stands for off: on the CPU torch.compile made no step faster (measured).

    Raises ConfigError where it is wanted and there is no compiler to do it with.
    """
    compiler = os.environ.get("CXX", "g++")
    if wanted == "on" and shutil.which(compiler) is None:
        raise ConfigError(
            f"training.compile: on needs a C++ compiler, and there is no {compiler}; "
            "leave it at auto, or name one in the environment variable CXX"
        )
    return "on" if wanted == "on" else "off"


def resolve_threads(wanted: int | Literal["auto"]) -> int:
    """The number of CPU threads: `auto` is what torch chose when it started.

    That is the number of cores that this process may use, or $OMP_NUM_THREADS.
    """
    return torch.get_num_threads() if wanted == "auto" else wanted


def check_single_process() -> None:
    """Raise ConfigError if a launcher such as torchrun started several processes."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise ConfigError(
            f"WORLD_SIZE={processes}: a training runs in one process, and a launcher would train "
            "the same run several times; expected WORLD_SIZE=1 or none"
        )


def available_bytes(device: torch.device) -> int:
    """The memory of `device` that nobody uses now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def keep_freed_memory() -> None:
    """Tell the C library to keep what is freed, up to a gigabyte, for what is allocated next.

    By default glibc gives each large tensor back to the system and asks for the next one, whose
    pages are then zeroed at first touch: in a step of `dcgan` a third of the time.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        # An older glibc takes 32 MiB at most for the first; the second alone would make it worse.
        if mallopt is not None and (
            mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) or mallopt(M_MMAP_THRESHOLD, 2**25)
        ):
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
