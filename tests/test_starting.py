"""Training runs that start from the weights of another generator."""

import json
from pathlib import Path

import pytest
import torch
from helpers import (
    TINY,
    Cli,
    assert_refused,
    assert_same,
    idx_bytes,
    resume_tiny,
    train_tiny,
    write_set,
)

from mnistgan.checkpoint import load_checkpoint
from mnistgan.runs.building import DataAccess
from mnistgan.runs.opening import new_run
from mnistgan.runs.session import Session

CONDITIONAL = ("model.conditional=true", "training.ema_decay=0.9")


def session_from(start: str, *overrides: str, name: str = "second", config: str = "mlp") -> Session:
    return new_run(
        config,
        [*TINY, *CONDITIONAL, *overrides],
        runs=Path("runs"),
        name=name,
        device="cpu",
        access=DataAccess(offline=True),
        start=start,
    )


@pytest.mark.parametrize("start", ["first", "runs/first/latest.pt"])
def test_run_starts_from_the_weights_of_all_networks(start: str) -> None:
    state = load_checkpoint(train_tiny(*CONDITIONAL, name="first") / "latest.pt")["trainer"]
    session = session_from(start)
    assert session.summary().notes == ()
    started = session.trainer.state_dict()
    for network in ("generator", "discriminator", "ema"):
        assert_same(dict(started[network]), dict(state[network]))
    assert started["step"] == 0


def test_generator_file_starts_d_at_random(mnistgan: Cli) -> None:
    train_tiny(*CONDITIONAL, name="first")
    assert mnistgan("export", "first", "--out", "g.safetensors").exit_code == 0
    session = session_from("g.safetensors")
    assert session.summary().notes == ("g.safetensors: has only G; D starts at random",)
    averaged = load_checkpoint(Path("runs/first/latest.pt"))["trainer"]["ema"]
    assert_same(dict(session.trainer.generator.state_dict()), dict(averaged))


def test_tensors_that_do_not_fit_are_named_and_start_at_random() -> None:
    wide = "model.width=0.5"
    run = train_tiny(*CONDITIONAL, wide, name="first", config="bce")
    state = load_checkpoint(run / "latest.pt")["trainer"]
    write_set(Path("mine"), count=30)  # random labels below 10, perhaps without 9
    labels = torch.arange(30) % 4
    for stem in ("train", "t10k"):
        path = Path(f"mine/{stem}-labels-idx1-ubyte.gz")
        path.write_bytes(idx_bytes(labels.to(torch.uint8).numpy()))
    session = session_from("first", "data.dataset=./mine", wide, config="bce")
    notes = session.summary().notes
    assert len(notes) == 2
    assert "G: these tensors do not fit and start at random: " in notes[0]
    assert "D: these tensors do not fit and start at random: " in notes[1]
    started = session.trainer.generator.state_dict()
    same = [key for key in started if key in state["generator"] and key not in notes[0]]
    assert same
    assert all(torch.equal(started[key], state["generator"][key]) for key in same)


def test_other_architecture_is_refused_in_one_line(mnistgan: Cli) -> None:
    train_tiny(name="first", config="dcgan")
    result = mnistgan("train", "--config", "mlp", "--from", "first", "--dry-run", *TINY)
    assert_refused(result, "first/latest.pt: G: no weight fits")
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_run_records_its_start_and_resumes_exactly(mnistgan: Cli) -> None:
    train_tiny(*CONDITIONAL, name="first")
    args = ("train", "--config", "mlp", "--from", "first", "--offline", *TINY, *CONDITIONAL)
    assert mnistgan(*args, "--name", "whole").exit_code == 0
    info = json.loads(Path("runs/whole/run.json").read_text())
    assert info["from"]["source"] == "runs/first/latest.pt"
    assert len(info["from"]["sha256"]) == 64
    session = session_from("first", name="halved")
    for _ in session.run(lambda: session.trainer.step >= 5):
        pass
    Path("runs/first/latest.pt").unlink()
    resume_tiny(Path("runs/halved"))
    whole, halved = (
        load_checkpoint(Path(f"runs/{name}/latest.pt")) for name in ("whole", "halved")
    )
    assert_same(whole["trainer"], halved["trainer"])


def test_from_cannot_be_combined_with_resume(mnistgan: Cli) -> None:
    train_tiny()
    result = mnistgan("train", "--resume", "tiny", "--from", "tiny")
    assert_refused(result, "leave out --from", exit_code=2)
