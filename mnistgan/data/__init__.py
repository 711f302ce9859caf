"""Digits in memory: read and checked, and dealt out in shuffled batches."""

from mnistgan.data.batches import Batches, to_unit_range
from mnistgan.data.sources import Dataset, load_dataset

__all__ = ["Batches", "Dataset", "load_dataset", "to_unit_range"]
