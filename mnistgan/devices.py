"""The device that a name stands for on this machine."""

import torch

from mnistgan.errors import DeviceError


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
