"""Train presets with several seeds and print a table of their scores.

    python tests/benchmarks/zoo.py --out results bce lsgan wgan wgan-gp hinge

Each row of the table is a preset. `--out` keeps one JSON file per run. Runs that have one are not
repeated, so a table can grow over days. The table includes training times, so run nothing else
meanwhile.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

COLUMNS = {
    "frechet_distance": "{:.3f}",
    "kernel_distance": "{:.4f}",
    "precision": "{:.3f}",
    "recall": "{:.3f}",
    "coverage": "{:.3f}",
    "label_accuracy": "{:.4f}",
    "unreadable": "{:.3f}",
    "missing_classes": "{:.1f}",
    "modes": "{:,.0f}",
    "kl_uniform": "{:.3f}",
    "cas": "{:.4f}",
    "minutes": "{:.1f}",
}


def train_and_score(
    name: str, seed: int, out: Path, args: list[str], cas: bool, config: str | None = None
) -> dict[str, Any]:
    """Train and score one run of a configuration, or read its result if it exists.

    The configuration is the preset called `name` if none is given.
    """
    path = out / f"{name}-{seed}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    program = [sys.executable, "-m", "mnistgan"]
    run = out / "runs" / f"{name}-{seed}"
    started_at = time.perf_counter()
    interrupted = run.exists()
    if interrupted:
        subprocess.run([*program, "train", "--resume", str(run), "--quiet"], check=True)
    else:
        where = ["--runs", str(run.parent), "--name", run.name, "--seed", str(seed), "--quiet"]
        subprocess.run([*program, "train", "--config", config or name, *where, *args], check=True)
    minutes = None if interrupted else (time.perf_counter() - started_at) / 60
    options = ["--json", *(["--cas"] if cas else [])]
    done = subprocess.run(
        [*program, "evaluate", str(run), *options], check=True, stdout=subprocess.PIPE
    )
    record = {**json.loads(done.stdout), "minutes": minutes}
    path.write_text(json.dumps(record, indent=2) + "\n")
    return record


def row(records: list[dict[str, Any]]) -> list[str]:
    cells = []
    for key, form in COLUMNS.items():
        values = [value(record, key) for record in records]
        if None in values:
            cells.append("")
        else:
            spread = f" ± {form.format(stdev(values))}" if len(values) > 1 else ""
            cells.append(form.format(mean(values)) + spread)
    return cells


def value(record: dict[str, Any], key: str) -> Any:
    if key == "missing_classes":
        return None if record[key] is None else len(record[key])
    if key == "cas":
        accuracy = record["classification_accuracy"]
        return accuracy and accuracy["generated"]
    return record[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--cas",
        action="store_true",
        help="also measure the classification accuracy score (minutes per run; not for stacked)",
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"| preset | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in options.presets:
        records = [
            train_and_score(name, seed, options.out, options.set, options.cas)
            for seed in range(options.seeds)
        ]
        print(f"| {name} | {' | '.join(row(records))} |", flush=True)


if __name__ == "__main__":
    main()
