"""Digits in memory: read and checked, and dealt out in shuffled batches."""

from mnistgan.data.batches import Batches, to_unit_range
from mnistgan.data.sample_files import is_sample_file, read_samples
from mnistgan.data.sources import (
    DATASET_RULES,
    STACKED,
    Dataset,
    Split,
    load_dataset,
    load_shipped,
    ships,
    stack,
)

__all__ = [
    "DATASET_RULES",
    "STACKED",
    "Batches",
    "Dataset",
    "Split",
    "is_sample_file",
    "load_dataset",
    "load_shipped",
    "read_samples",
    "ships",
    "stack",
    "to_unit_range",
]
