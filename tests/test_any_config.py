"""Property tests: every configuration either trains or reports a list of problems."""

import math
from pathlib import Path
from typing import Any

import yaml
from helpers import OFFLINE
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mnistgan.config import Config, flatten, load_config
from mnistgan.config.yaml_text import read_yaml
from mnistgan.errors import ConfigError
from mnistgan.runs.building import RUN_RULES
from mnistgan.runs.opening import new_run
from mnistgan.training.memory import training_bytes

# Arbitrary values for the keys of a configuration.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "nan", ".nan", "inf", "-.inf", "-1", "0", "1e999", "1_000", "0x10", "1:30", "~",
         "auto", "𝟙", "adam", "mlp", "conv", "wgan", "on", "off", "1e-400", "2e-4", "stacked-mnist"]
    ),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=5), SCALARS, max_size=2),
)
KEYS = sorted(flatten(Config().to_mapping()))


def nested(values: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    return tree


def assert_trains_or_lists_problems(path: Path) -> None:
    """Check that each problem names the file, and that a small valid configuration trains."""
    problems = ""
    try:
        config = load_config(str(path), rules=RUN_RULES)
    except ConfigError as error:
        problems = str(error)
    if problems:
        for line in problems.splitlines():
            assert line.startswith(f"{path}"), line
        return
    assert training_bytes(config, channels=1, classes=10) > 0
    small = training_bytes(config, channels=1, classes=10) < 5_000_000
    if small and config.data.dataset == "mnist" and config.data.root is None:
        try:
            session = new_run(
                str(path), [], runs=Path("r"), name=None, device="cpu", access=OFFLINE
            )
        except ConfigError as error:
            problems = str(error)
        else:
            session.trainer.train_step()
        assert problems == "" or "compile" in problems  # without a compiler


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
@example({"model.width": 0.02, "model.z_dim": 1, "data.batch_size": 1})
@example({"training.epochs": 10**30})
@example({"optimizer.arguments": {"weight_decay": math.nan}})
@example({"data.dataset": "./nowhere"})
@example({"data.root": "\x00"})
def test_any_values_train_or_report_a_list_of_problems(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(yaml.safe_dump(nested(values), allow_unicode=True), encoding="utf-8")
    assert_trains_or_lists_problems(path)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
@example(b"")
@example(b"[1, 2]")
@example(b"data:\n\tbatch_size: 3")
@example(b"data: &a {batch_size: 3}\nmodel: *a")
@example(b"data: !!python/object/apply:os.system ['touch exploded']")
@example(b"data: {batch_size: 3}\ndata: {batch_size: 4}")
@example(b"\xff\xfe\x00")
@example(b"? [a, b]\n: 3")
@example(b"{" * 5000)
@example(b"- " * 20000)
@example(b"--- a\n--- b")
@example(b"a: 2001-02-30")
@example(b"training: {seed: !!int '3'}")
def test_any_bytes_are_parsed_or_refused_in_one_line(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(contents)
    try:
        message = ""
        values = read_yaml(path)
    except ConfigError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert "\n" not in message
    else:
        assert isinstance(values, dict)
    assert not Path("exploded").exists()
