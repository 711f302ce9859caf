import json
import platform
import resource
import sys

import pytest
import torch
import yaml
from helpers import TINY, assert_same, resume_tiny, train_tiny
from processes import CONTEXT

from mnistgan import devices
from mnistgan.checkpoint import load_checkpoint
from mnistgan.config import load_config
from mnistgan.devices import (
    MIN_WEIGHTS_FOR_BF16,
    keep_freed_memory,
    resolve_compilation,
    resolve_precision,
)
from mnistgan.errors import ConfigError
from mnistgan.training.trainer import Trainer

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8)
LABELS = torch.arange(50) % 10


def set_bf16_support(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)


def test_auto_precision_depends_on_cpu_support_and_model_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_bf16_support(monkeypatch, True)
    assert resolve_precision("auto", CPU, MIN_WEIGHTS_FOR_BF16) == "bf16"
    assert resolve_precision("auto", CPU, MIN_WEIGHTS_FOR_BF16 - 1) == "fp32"
    assert resolve_precision("fp32", CPU, MIN_WEIGHTS_FOR_BF16) == "fp32"
    set_bf16_support(monkeypatch, False)
    assert resolve_precision("auto", CPU, MIN_WEIGHTS_FOR_BF16) == "fp32"
    assert resolve_precision("bf16", CPU, 1) == "bf16"


def test_resume_keeps_the_precision_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds even on a CPU for which auto would choose another precision."""
    monkeypatch.setattr(devices, "MIN_WEIGHTS_FOR_BF16", 1)
    set_bf16_support(monkeypatch, True)
    uninterrupted = train_tiny(name="uninterrupted")
    run = train_tiny(stop_after=7)
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["precision"] == "bf16"
    (session,) = json.loads((run / "run.json").read_text())["sessions"]
    assert (session["precision"], session["compile"]) == ("bf16", "off")
    set_bf16_support(monkeypatch, False)
    resume_tiny(run)
    states = (load_checkpoint(path / "latest.pt")["trainer"] for path in (run, uninterrupted))
    assert_same(*states)


def test_bf16_changes_the_losses_slightly_and_keeps_fp32_weights() -> None:
    trainers = [
        Trainer(
            load_config("mlp", [*TINY, f"training.precision={precision}"]),
            IMAGES,
            LABELS,
            CPU,
        )
        for precision in ("fp32", "bf16")
    ]
    for trainer in trainers:
        trainer.train_step()
        networks = (trainer.generator, trainer.discriminator)
        assert {weight.dtype for net in networks for weight in net.parameters()} == {torch.float32}
    fp32, bf16 = (torch.tensor(trainer.means()) for trainer in trainers)
    assert not torch.equal(fp32, bf16)
    torch.testing.assert_close(bf16, fp32, rtol=5e-2, atol=0)


def test_compilation_is_off_by_default_and_needs_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert resolve_compilation("auto") == "off"
    monkeypatch.setenv("CXX", sys.executable)
    assert resolve_compilation("on") == "on"
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert resolve_compilation("auto") == "off"
    with pytest.raises(ConfigError, match=r"training\.compile: .* no-such-compiler was not found"):
        resolve_compilation("on")


def page_faults(keep: bool) -> int:
    """The page faults of this process while it allocates and frees large tensors."""
    if keep:
        keep_freed_memory()

    def touch() -> None:
        for size in (24, 48, 36):
            torch.ones(size * 2**18).add(1)

    touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        touch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="Requires: glibc")
def test_keep_freed_memory_avoids_page_faults() -> None:
    def faults(keep: bool) -> int:
        with CONTEXT.Pool(1) as process:
            return process.apply(page_faults, (keep,))

    assert faults(keep=True) < faults(keep=False) / 10
