"""Run the tests and the benchmarks that need an NVIDIA GPU, and write one JSON file.

    python tests/benchmarks/gpu.py --out gpu.json

Takes at most ten minutes. Its parts have run on an NVIDIA H200, but not yet the script as a whole.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import torch

TESTS_SECONDS, SPEED_SECONDS = 300, 180
GOALS = {"fast": 10.0, "best": 60.0}
"""Seconds in which a preset should be trained"""


def run_tests() -> dict[str, Any]:
    """The outcome of each test with the marker `gpu`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}"]
        try:
            subprocess.run(command, timeout=TESTS_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return {"timed out after": TESTS_SECONDS}
        cases = ElementTree.parse(report).getroot().iter("testcase")
        return {
            f"{case.get('classname')}::{case.get('name')}": {
                "outcome": next((child.tag for child in case), "passed"),
                "seconds": float(case.get("time", "nan")),
            }
            for case in cases
        }


def run_speed() -> Any:
    """The paired rates of the plain loop and of mnistgan."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "speed.json")
        script = str(Path(__file__).with_name("speed.py"))
        command = [sys.executable, script, "--device", "cuda", "--rounds", "1", "--out", str(out)]
        try:
            subprocess.run(command, timeout=SPEED_SECONDS, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            return {"failed": str(error)}
        return json.loads(out.read_text())


def train_presets() -> dict[str, Any]:
    """Seconds that each preset with a goal takes, and its Fréchet distance."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as runs:
        for preset, goal in GOALS.items():
            mnistgan = [sys.executable, "-m", "mnistgan"]
            place = ["--runs", runs, "--device", "cuda"]
            started_at = time.perf_counter()
            subprocess.run(
                [*mnistgan, "train", "--quiet", "--config", preset, "--name", preset, *place],
                check=True,
            )
            seconds = time.perf_counter() - started_at
            scored = subprocess.run(
                [*mnistgan, "evaluate", preset, "--json", *place],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            distance = json.loads(scored.stdout)["frechet_distance"]
            found[preset] = {"seconds": seconds, "goal": goal, "frechet_distance": distance}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: this needs an NVIDIA GPU that torch can use. Try: mnistgan doctor")
    results: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
    }
    for name, measure in (("tests", run_tests), ("presets", train_presets), ("speed", run_speed)):
        results[name] = measure()
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
