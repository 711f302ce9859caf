"""Search the settings of each objective with the same budget, then train the best with three seeds.

    python tests/benchmarks/search.py --out results bce bce-r1 lsgan hinge wgan wgan-gp r3gan

All objectives train the small convolutional pair without classes. Each has 12 trials of the same
time, and the best three are repeated with three other seeds. The best settings are then trained 3.3
times as long with three seeds, and scored on the test digits. Two trainings run at a time, with one
thread each. `--out` keeps the studies, their trials in one JSON file, and one JSON file per
training, so the same command resumes what was interrupted.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from zoo import COLUMNS, row, train_and_score

from mnistgan.tuning.storage import open_storage, stored_study
from mnistgan.tuning.watching import overview

TRIALS, CONFIRMED = 12, 3
SEEDS = 3
AT_A_TIME = 2
TRIALS_FILE = "search.json"
COMMON = (
    "optimizer.lr=log:2e-4..8e-3",
    "optimizer.d_lr=log:2e-4..8e-3",
    "optimizer.betas=[0,0.9],[0,0.99],[0.5,0.999]",
    "optimizer.name=adam",
    "optimizer.schedule=linear",
    "optimizer.decay_from=0.5",
    "data.batch_size=32",
    "training.n_critic=1",  # instead, d_lr may be larger than lr
    "training.reuse_fakes=true",
    "training.ema_decay=0.995",
    "training.threads=1",
)
"""What all objectives search, then what is the same in all trials"""


@dataclass(frozen=True)
class Objective:
    preset: str
    """What the trials start from"""
    steps: int
    """Steps of a trial: about 90 s on one core of an AMD EPYC with AVX2"""
    long_steps: int
    """Steps of a training with the best settings: about five minutes"""
    keys: tuple[str, ...]
    """What only this objective searches or sets"""


NORM = "model.spectral_norm=true,false"
OBJECTIVES = {
    "bce": Objective("bce-paper", 1000, 3300, (NORM,)),
    "bce-r1": Objective(
        "bce-paper", 800, 2700, ("loss.r1=log:0.01..10", "loss.penalty_every_steps=4")
    ),
    "lsgan": Objective("lsgan-paper", 1000, 3300, (NORM,)),
    "hinge": Objective("hinge-paper", 1000, 3300, (NORM,)),
    "wgan": Objective("wgan-paper", 1000, 3300, ("loss.weight_clip=log:0.003..0.3",)),
    "wgan-gp": Objective("wgan-gp-paper", 660, 2200, ("loss.gradient_penalty=log:0.1..30",)),
    "r3gan": Objective(
        "r3gan-paper",
        660,
        2200,
        ("loss.r1=log:0.01..10", "loss.r2=log:0.01..10", "loss.penalty_every_steps=4"),
    ),
}


def search(name: str, out: Path) -> Path:
    """Run or continue the study of an objective. Returns the configuration of its best trial."""
    objective = OBJECTIVES[name]
    command = [sys.executable, "-m", "mnistgan", "tune", "--config", objective.preset, "--quiet"]
    where = ["--study", name, "--runs", str(out)]
    budget = ["--trials", str(TRIALS), "--confirm", str(CONFIRMED)]
    steps = f"training.steps={objective.steps}"
    jobs = ["--jobs", str(AT_A_TIME)]
    subprocess.run([*command, *where, *budget, *jobs, *COMMON, *objective.keys, steps], check=True)
    return out / name / "best.yaml"


def trials(name: str, out: Path) -> list[dict[str, Any]]:
    """The trials of a study, as JSON values."""
    storage = open_storage(out / name, None)
    study, found = stored_study(storage, name), overview(storage, name, None)
    assert study is not None
    assert found is not None
    confirmed = {trial.number: trial.scores for trial in found.confirmed}
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "scores": list(trial.intermediate_values.values()),
            "confirmed": confirmed.get(trial.number, ()),
            "values": trial.params,
        }
        for trial in study.get_trials()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("objectives", nargs="+", choices=OBJECTIVES)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    best = {name: search(name, options.out) for name in options.objectives}
    found = {name: trials(name, options.out) for name in options.objectives}
    (options.out / TRIALS_FILE).write_text(json.dumps(found, indent=1) + "\n")

    def train(job: tuple[str, int]) -> dict[str, Any]:
        name, seed = job
        args = [f"training.steps={OBJECTIVES[name].long_steps}", "training.threads=1"]
        return train_and_score(name, seed, options.out, args, cas=False, config=str(best[name]))

    jobs = list(product(options.objectives, range(SEEDS)))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        records = dict(zip(jobs, pool.map(train, jobs), strict=True))
    print(f"| objective | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in options.objectives:
        cells = row([records[name, seed] for seed in range(SEEDS)])
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
