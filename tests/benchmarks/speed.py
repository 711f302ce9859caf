"""Compare the speed of `mnistgan train` with a plain loop: medians and ratios of paired runs.

    python tests/benchmarks/speed.py --out speed.json

The runs alternate on the same cores. Takes about 20 minutes; run nothing else meanwhile. With
`--device cuda`, only the training steps are compared, of the cases for a GPU.
"""

import argparse
import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from reference_loop import WARM_UP_STEPS

from mnistgan.config import load_config
from mnistgan.data.sources import SHIPPED_FOLDER
from mnistgan.models import build_discriminator, build_generator, parameter_count
from mnistgan.runs.building import DataAccess
from mnistgan.runs.opening import new_run
from mnistgan.terminal import console, progress

REFERENCE = Path(__file__).with_name("reference_loop.py")
MNISTGAN = [sys.executable, "-m", "mnistgan"]


@dataclass(frozen=True)
class Case:
    preset: str
    batch_size: int
    precision: str
    steps: int


CASES = {
    "mlp 32": Case("mlp", 32, "auto", 1500),
    "mlp 128": Case("mlp", 128, "auto", 600),
    "dcgan 64": Case("dcgan", 64, "auto", 110),
    "mlp 32 fp32": Case("mlp", 32, "fp32", 1500),
    "mlp 128 fp32": Case("mlp", 128, "fp32", 600),
    "dcgan 64 fp32": Case("dcgan", 64, "fp32", 110),
}


GPU_CASES = {
    "mlp 128": Case("mlp", 128, "auto", 2000),
    "conv 64": Case("bce", 64, "auto", 600),
    "dcgan 64": Case("dcgan", 64, "auto", 600),
}


@dataclass(frozen=True)
class Measured:
    images_per_second: float
    first_step_seconds: float
    """Wall time of a whole process that trains one step"""
    peak_mib: float


def measure_plain(case: Case, folder: str, device: str) -> Measured:
    command = [sys.executable, str(REFERENCE), folder, case.preset, str(case.batch_size)]
    first, _, _ = run([*command, "1", device])
    _, peak, output = run([*command, str(case.steps), device])
    return Measured(float(output), first, peak)


def measure_ours(case: Case, folder: str, device: str) -> Measured:
    """The rate comes from metrics.jsonl, without its first line, which is the warm-up."""
    command = [*MNISTGAN, "train", "--config", case.preset, "--offline", "--quiet"]
    args = [
        f"--device={device}",
        f"data.root={folder}",
        f"data.batch_size={case.batch_size}",
        f"training.precision={case.precision}",
        f"output.log_every_steps={WARM_UP_STEPS}",
    ]
    with tempfile.TemporaryDirectory() as runs:
        command += ["--runs", runs, *args]
        first, _, _ = run([*command, "training.max_steps=1"])
        _, peak, _ = run([*command, "--name", "timed", f"training.max_steps={case.steps}"])
        lines = Path(runs, "timed/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    seconds = steps = 0.0
    for before, record in itertools.pairwise(records):
        taken = record["step"] - before["step"]
        steps += taken
        seconds += taken * case.batch_size / record["images_per_second"]
    return Measured(steps * case.batch_size / seconds, first, peak)


def run(command: list[str]) -> tuple[float, float, str]:
    """Run a process. Returns its wall time in seconds, peak memory in MiB and output."""
    started_at = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - started_at, usage.ru_maxrss / 1024, output


def other_work_share(folder: str, epochs: int = 2) -> float:
    """The share of a run of `mlp`, with live display, that is not spent in training steps."""
    with tempfile.TemporaryDirectory() as runs, Path(os.devnull).open("w") as nowhere:
        progress.messages = console.Stream(  # type: ignore[attr-defined]
            file=nowhere, force_terminal=True, width=120, height=40, color_system="truecolor"
        )
        session = new_run(
            "mlp",
            [f"data.root={folder}", f"training.epochs={epochs}"],
            runs=Path(runs),
            name=None,
            device="cpu",
            access=DataAccess(offline=True),
        )
        stepping = 0.0
        train_step: Callable[[], None] = session.trainer.train_step

        def timed_step() -> None:
            nonlocal stepping
            started_at = time.perf_counter()
            train_step()
            stepping += time.perf_counter() - started_at

        session.trainer.train_step = timed_step  # type: ignore[method-assign]
        started_at = time.perf_counter()
        summary = session.summary()
        with progress.training_progress(summary, quiet=False, preview=True) as shown:
            for _ in shown.follow(session.run(preview=shown.wants_previews)):
                pass
        return 1 - stepping / (time.perf_counter() - started_at)


def measure_commands(folder: str, rounds: int) -> dict[str, float]:
    """Median wall time in seconds of whole processes, which alternate."""
    with tempfile.TemporaryDirectory() as runs:
        args = ["--runs", runs, "--name", "mlp", f"data.root={folder}", "training.max_steps=1"]
        run([*MNISTGAN, "train", "--quiet", "--config", "mlp", *args])
        out = f"{runs}/digits.npz"
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "sample --n 10000": [
                *(*MNISTGAN, "sample", "--ckpt", f"{runs}/mlp", "--n", "10000"),
                *("--out", out, "--force"),
            ],
            "--help": [*MNISTGAN, "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(run(command)[0])
    return {name: median(values) for name, values in times.items()}


def roofline(case: Case, images_per_second: float) -> str:
    """Compare the speed of `mlp` with the peak matrix-product rate of these cores."""
    config = load_config("mlp").model
    g = parameter_count(build_generator(config, 1))
    d = parameter_count(build_discriminator(config, 1))
    first_of_d = 28 * 28 * 1024
    # Each pass (forward, gradient of the weights, gradient of the inputs) takes two operations per
    # weight and image. D runs all three for real and fake images, without the gradient of the
    # images. For G's update, D runs forward and the gradient of the inputs. G runs forward for D's
    # update and all three for its own.
    operations = 2 * ((2 * 3 * d - 2 * first_of_d) + 2 * d + g + 3 * g)
    # Adam reads four values per weight and writes three. Each pass reads the weights once.
    megabytes = 4 * (7 * (g + d) + 4 * g + 4 * d) / 1e6
    parts = []
    for dtype in (torch.float32, torch.bfloat16):
        peak = matmul_peak(dtype)
        parts.append(
            f"{dtype} {peak / 1e9:.0f} GFLOP/s allow {peak / operations:,.0f} images/s, "
            f"{images_per_second * operations / peak:.0%} reached"
        )
    return (
        f"roofline, mlp {case.batch_size} at {images_per_second:,.0f} images/s: "
        f"{operations / 1e6:.1f} MFLOP per image, {megabytes:.0f} MB of weights per step; "
        + "; ".join(parts)
    )


def matmul_peak(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second of the fastest of ten large matrix products."""
    a, b = torch.randn(2, size, size).to(dtype)
    best = 0.0
    for _ in range(10):
        started_at = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - started_at))
    return best


def unzip(folder: str) -> None:
    """Store MNIST as torchvision does after a download."""
    target = Path(folder, "MNIST/raw")
    target.mkdir(parents=True)
    for path in SHIPPED_FOLDER.glob("*.gz"):
        (target / path.stem).write_bytes(gzip.decompress(path.read_bytes()))


def summary(pairs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of each side and of the ratios of the pairs."""
    rows: dict[str, float] = {}
    for key in asdict(Measured(0, 0, 0)):
        rows |= {f"{side}_{key}": median(p[side][key] for p in pairs) for side in ("plain", "ours")}
        rows[f"ratio_{key}"] = median(p["ours"][key] / p["plain"][key] for p in pairs)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="*", choices=list(CASES | GPU_CASES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    cases = CASES if on_cpu else GPU_CASES
    chosen = options.cases or list(cases)
    results: dict[str, Any] = {
        "torch": str(torch.__version__),
        "device": options.device,
        "rounds": options.rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        unzip(folder)
        pairs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        for number in range(options.rounds):
            for name in chosen:
                plain = measure_plain(cases[name], folder, options.device)
                ours = measure_ours(cases[name], folder, options.device)
                pairs[name].append({"plain": asdict(plain), "ours": asdict(ours)})
                print(f"round {number + 1}, {name}: {plain}, {ours}", file=sys.stderr)
        results["pairs"] = pairs
        results["cases"] = {name: summary(rows) for name, rows in pairs.items()}
        if on_cpu:
            results["commands"] = measure_commands(folder, 2 * options.rounds + 1)
            results["other_work_share"] = other_work_share(folder)
    mlp = [name for name in ("mlp 32", "mlp 128") if on_cpu and name in chosen]
    results["roofline"] = [
        roofline(CASES[name], results["cases"][name]["ours_images_per_second"]) for name in mlp
    ]
    show(results)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


def show(results: dict[str, Any]) -> None:
    print(f"{'images/s':16}{'plain':>8}{'ours':>8}{'ratio':>8}   first step, s    peak, MiB")
    for name, row in results["cases"].items():
        print(
            f"{name:16}{row['plain_images_per_second']:8,.0f}{row['ours_images_per_second']:8,.0f}"
            f"{row['ratio_images_per_second']:8.2f}"
            f"{row['plain_first_step_seconds']:9.1f}{row['ours_first_step_seconds']:7.1f}"
            f"{row['plain_peak_mib']:8,.0f}{row['ours_peak_mib']:7,.0f}"
        )
    for name, seconds in results.get("commands", {}).items():
        print(f"{name:20}{seconds:6.2f} s")
    if "other_work_share" in results:
        print(f"outside the steps   {results['other_work_share']:8.1%} of the time of a run")
    print(*results["roofline"], sep="\n")


if __name__ == "__main__":
    main()
