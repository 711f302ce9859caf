"""Digits in memory: read and checked, and dealt out in shuffled batches."""

from mnistgan.data.batches import Batches, to_unit_range
from mnistgan.data.dataset import Access, Dataset, DatasetEntry, Loaded, Split
from mnistgan.data.datasets import (
    DATASET_RULES,
    DATASETS,
    dataset_entry,
    default_dataset,
    load_dataset,
    load_shipped,
)
from mnistgan.data.sample_files import is_sample_file, read_samples

__all__ = [
    "DATASETS",
    "DATASET_RULES",
    "Access",
    "Batches",
    "Dataset",
    "DatasetEntry",
    "Loaded",
    "Split",
    "dataset_entry",
    "default_dataset",
    "is_sample_file",
    "load_dataset",
    "load_shipped",
    "read_samples",
    "to_unit_range",
]
