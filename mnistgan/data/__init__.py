"""Data sets: load them, check them, and draw shuffled batches from them."""

from mnistgan.data.batches import Batch, Batches, to_unit_range
from mnistgan.data.clusters import cluster_images
from mnistgan.data.dataset import (
    MAX_NAME_LENGTH,
    Access,
    Dataset,
    DatasetEntry,
    Loaded,
    Split,
    are_class_names,
)
from mnistgan.data.datasets import (
    DATASET_RULES,
    DATASETS,
    dataset_entry,
    decode_own,
    default_dataset,
    load_dataset,
    load_shipped,
)
from mnistgan.data.sample_files import check_samples, is_sample_file, read_samples

__all__ = [
    "DATASETS",
    "DATASET_RULES",
    "MAX_NAME_LENGTH",
    "Access",
    "Batch",
    "Batches",
    "Dataset",
    "DatasetEntry",
    "Loaded",
    "Split",
    "are_class_names",
    "check_samples",
    "cluster_images",
    "dataset_entry",
    "decode_own",
    "default_dataset",
    "is_sample_file",
    "load_dataset",
    "load_shipped",
    "read_samples",
    "to_unit_range",
]
