"""The hash of the weights in metrics.jsonl."""

import hashlib
from pathlib import Path

import pytest
import torch
from helpers import metrics_without_timings, resume_tiny, tiny_session, train_tiny, write_set

from mnistgan.checkpoint import load_checkpoint

OWN = ("data.dataset=./own", "training.ema_decay=0.9")
"""100 images in batches of 16: an epoch has 7 steps, and lines are written at 5, 10 and 12"""


@pytest.fixture(autouse=True)
def own_images() -> None:
    write_set(Path("own"), count=100)


def hashes(run: Path) -> dict[int, str]:
    """The hashes of a run by step, for the lines that have one."""
    lines = metrics_without_timings(run)
    return {line["step"]: line["weights_sha256"] for line in lines if "weights_sha256" in line}


def test_hash_is_in_the_first_line_after_each_epoch_and_in_the_last_line() -> None:
    found = hashes(train_tiny(*OWN))
    assert list(found) == [10, 12]  # the first epoch ends at step 7
    assert len(set(found.values())) == 2


def test_hash_is_that_of_the_documented_bytes_of_the_checkpoint() -> None:
    run = train_tiny(*OWN)
    state = load_checkpoint(run / "latest.pt")["trainer"]
    expected = hashlib.sha256()
    for network in ("generator", "discriminator", "ema"):
        for name, tensor in sorted(state[network].items()):
            expected.update(f"{network}.{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            expected.update(tensor.numpy().tobytes())
    assert hashes(run)[12] == expected.hexdigest()


@pytest.mark.parametrize("stop_after", [3, 6, 8, 11])
def test_resumed_run_has_the_same_hashes_in_the_same_lines(stop_after: int) -> None:
    whole = train_tiny(*OWN, name="whole")
    halved = resume_tiny(train_tiny(*OWN, name="halved", stop_after=stop_after))
    assert metrics_without_timings(halved) == metrics_without_timings(whole)


def test_former_last_line_of_an_extended_run_loses_its_hash() -> None:
    # An epoch of MNIST has 3,750 steps, so only the last line has a hash.
    assert list(hashes(train_tiny("training.max_steps=5", name="extended"))) == [5]
    extended = resume_tiny(Path("runs/extended"), "training.max_steps=12")
    assert list(hashes(extended)) == [12]
    assert metrics_without_timings(extended) == metrics_without_timings(train_tiny(name="whole"))


@pytest.mark.parametrize("network", ["generator", "discriminator", "ema"])
def test_every_tensor_of_every_network_changes_the_hash(network: str) -> None:
    trainer = tiny_session(*OWN, config="dcgan").trainer  # BatchNorm has buffers too
    tensors = getattr(trainer, network).state_dict()
    assert "num_batches_tracked" in " ".join(tensors)
    seen = {trainer.weights_sha256()}
    for tensor in tensors.values():
        with torch.no_grad():
            tensor.view(-1)[-1] += 1
        seen.add(trainer.weights_sha256())
    assert len(seen) == len(tensors) + 1
