"""The IDX format of the MNIST files (https://yann.lecun.com/exdb/mnist), gzipped or not."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from mnistgan.errors import DataError
from mnistgan.reading import open_bounded

GZIP_MAGIC = b"\x1f\x8b"
DTYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
MAX_BYTES = 2**31
"""Maximum size of a file and of its array; enough for 2.7 million digits"""
CHUNK_BYTES = 2**20


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Read the array in an IDX file of bytes or 32-bit integers.

    `sha256` is the expected hash of the decompressed file with its header. Raises DataError, naming
    the file, if the magic number, the size, the checksum or the gzip data is wrong.
    """
    try:
        with open_bounded(path, MAX_BYTES) as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if zipped else raw
            header, shape, dtype = _read_header(path, file)
            expected = math.prod(shape) * dtype.itemsize
            payload = read_up_to(file, expected)
            extra = file.read(1)  # also makes gzip check its own checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(payload) != expected or extra:
        found = f"more than {expected}" if extra else str(len(payload))
        raise DataError(f"{path}: damaged; its header says {expected} bytes, got {found}")
    digest = hashlib.sha256(header)
    digest.update(payload)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise DataError(
            f"{path}: its contents are not those of the published file (SHA-256 differs): it is "
            "damaged, or belongs to another data set; download it again"
        )
    return np.frombuffer(payload, dtype).reshape(shape)


def read_up_to(file: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """Read up to `size` bytes in chunks, so a wrong size in a header wastes no memory."""
    data = bytearray()
    while len(data) < size:
        chunk = file.read(min(CHUNK_BYTES, size - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def _read_header(
    path: Path, file: BinaryIO | gzip.GzipFile
) -> tuple[bytes, tuple[int, ...], np.dtype[Any]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or not 1 <= magic[3] <= 3:
        raise DataError(
            f"{path}: is not an IDX file: it starts with 0x{magic.hex() or '(nothing)'}"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: damaged: it ends inside its header")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    dtype = DTYPES[magic[2]]
    if math.prod(shape) * dtype.itemsize > MAX_BYTES:
        raise DataError(f"{path}: damaged: its header gives an impossible shape, {shape}")
    return magic + sizes, shape, dtype
