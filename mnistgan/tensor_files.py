"""Read files in the safetensors format, which contain tensors and text but no code."""

import json
import struct

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

MAX_HEADER_BYTES = 2**20
"""Maximum size of the header; that of the largest preset is 10 KiB"""
UNREADABLE = (SafetensorError, ValueError, KeyError, TypeError, RecursionError, struct.error)
"""Errors that damaged contents may raise"""


def read_tensors(contents: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises one of UNREADABLE."""
    # The header is JSON; its length is in the first 8 bytes.
    (length,) = struct.unpack_from("<Q", contents)
    if length > min(MAX_HEADER_BYTES, len(contents) - 8):
        raise ValueError("its header is too large")
    metadata = json.loads(contents[8 : 8 + length]).get("__metadata__", {})
    return safetensors.torch.load(contents), metadata
