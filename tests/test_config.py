from pathlib import Path

import pytest

from mnistgan.config import (
    Config,
    check_config,
    differing_keys,
    find_config,
    flatten,
    load_config,
    presets,
)
from mnistgan.config.yaml_text import read_yaml
from mnistgan.errors import ConfigError
from mnistgan.runs.building import RUN_RULES


def problems(text: str, *overrides: str) -> list[str]:
    Path("c.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config("c.yaml", overrides, RUN_RULES)
    return str(error.value).splitlines()


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_unchanged_by_saving_and_loading(name: str) -> None:
    config = load_config(name)
    Path("resolved.yaml").write_text(config.to_yaml())
    assert load_config("resolved.yaml") == config


@pytest.mark.parametrize("name", presets())
def test_every_preset_sets_only_non_default_values(name: str) -> None:
    chosen = flatten(read_yaml(presets()[name]))
    resolved, defaults = (flatten(c.to_mapping()) for c in (load_config(name), Config()))
    assert [key for key in chosen if resolved[key] == defaults[key]] == []


def test_gradient_penalty_is_allowed_with_hinge_loss() -> None:
    config = load_config("mlp", ["loss.adversarial=hinge", "loss.gradient_penalty=10"])
    assert config.loss.gradient_penalty == 10


def test_mlp_preset_is_the_classic_recipe() -> None:
    config = load_config("mlp")
    assert config.data.batch_size == 32
    assert config.training.epochs == 20
    assert (config.optimizer.lr, config.optimizer.betas) == (2e-4, (0.9, 0.999))
    assert config.loss.adversarial == "bce"
    assert config.training.ema_decay is None


@pytest.mark.parametrize("text", ["2e-4", "2.0e-4", "0.0002", "'2e-4'", "2E-4"])
def test_numbers_are_read_in_every_notation(text: str) -> None:
    Path("c.yaml").write_text(f"optimizer: {{lr: {text}}}")
    assert load_config("c.yaml").optimizer.lr == 2e-4


def test_overrides_are_parsed_as_yaml_and_win_over_the_preset() -> None:
    overrides = ["data.batch_size=64", "optimizer.betas=[0, 0.9]", "training.max_steps=null"]
    config = load_config("mlp", overrides)
    assert config.data.batch_size == 64
    assert config.optimizer.betas == (0, 0.9)
    assert config.training.max_steps is None


def test_all_problems_are_reported_with_file_key_and_value() -> None:
    lines = problems(
        "data: {batchsize: 8, batch_size: 0}\nmodell: {}\ntraining: {epochs: many, seed: -1}\n"
    )
    assert len(lines) == 5
    text = "\n".join(lines)
    assert "c.yaml: data.batchsize: unknown key; did you mean data.batch_size?" in text
    assert "c.yaml: data.batch_size: should be greater than or equal to 1; got '0'" in text
    assert "c.yaml: modell: unknown key; did you mean model?" in text
    assert "training.epochs: should be a valid integer" in text
    assert "got 'many'" in text
    assert "training.seed" in text


def test_errors_in_overrides_name_the_command_line() -> None:
    assert problems("data: {}", "epochs=3") == [
        "command line: epochs: unknown key; did you mean training.epochs?"
    ]
    assert problems("data: {}", "training.epochs=x")[0].startswith("command line: training.epochs:")
    assert "expected KEY=VALUE" in problems("data: {}", "training.epochs")[0]
    (line,) = problems("data: {}", "trainin.epochs=3")
    assert line == "command line: trainin: unknown key; did you mean training?"


def test_rules_on_valid_fields_are_checked_despite_invalid_fields() -> None:
    lines = problems(
        "data: {batch_size: 30, dataset: stacked-mnist}\n"
        "model: {minibatch_stddev: true, architecture: mlp, widt: 5}\n"
        "loss: {adversarial: wgan-gp, label_smoothing: 0.1, r1: 1, r2: -1}\n"
        "training: {compile: on, epochs: many}\n"
        "output: {evaluate_every_epochs: 1}\n"
    )
    assert [line.removeprefix("c.yaml: ").split(": ")[0] for line in lines] == [
        "model.widt",
        "loss.r2",
        "training.epochs",
        "model.minibatch_stddev, data.batch_size",
        "training.compile, loss.r1",
        "data.dataset, output.evaluate_every_epochs",
        "model.architecture, model.minibatch_stddev",
        "loss.adversarial, loss.gradient_penalty",
        "loss.adversarial, loss.label_smoothing",
    ]
    assert lines[5].endswith("leave it null for stacked-mnist; got 'stacked-mnist', 1.0")


@pytest.mark.parametrize(
    "text",
    [
        "model: {minibatch_stddev: true, architecture: conf}\ndata: {batch_size: 3.5}",
        "model: 5\nloss: {adversarial: wgan-gp, gradient_penalty: -1}",
    ],
)
def test_rules_that_involve_an_invalid_field_are_skipped(text: str) -> None:
    lines = problems(text)
    assert len(lines) == 2
    assert not any(", " in line.split(": ")[1] for line in lines)  # not from a rule


@pytest.mark.parametrize(
    ("text", "override", "source"),
    [
        ("loss: {adversarial: wgan}", "loss.r1=1", "c.yaml"),
        ("loss: {adversarial: wgan, weight_clip: 1}", "loss.weight_clip=null", "command line"),
        ("loss: {r1: 1}", "loss.adversarial=wgan", "command line"),
        ("loss: {r1: 1}", "loss={adversarial: wgan}", "command line"),
        ("data: {dataset: stacked-mnist}", "output.evaluate_every_epochs=1", "command line"),
        ("output: {evaluate_every_epochs: 1}", "data.dataset=stacked-mnist", "command line"),
        (
            "data: {dataset: stacked-mnist}\noutput: {evaluate_every_epochs: 1}",
            "output.sample_count=4",
            "c.yaml",
        ),
    ],
)
def test_broken_rule_names_the_command_line_if_it_set_one_of_the_keys(
    text: str, override: str, source: str
) -> None:
    (line,) = problems(text, override)
    assert line.startswith(f"{source}: ")
    assert line.count(", ") >= 2  # it lists the keys and their values


@pytest.mark.parametrize(
    ("text", "override", "expected"),
    [
        ("data: 5", "training.epochs=1", "c.yaml: data: should be a section"),
        ("trainin: {seed: 1}", "trainin.epochs=3", "c.yaml: trainin: unknown key"),
        ("training: {epochs: 5}", "training.epochs.x=3", "command line: training.epochs: should"),
        ("optimizer: {betas: [0, 0]}", "optimizer.betas.1=0.5", "command line: optimizer.betas: "),
        ("optimizer: {arguments: {a: x}}", "optimizer.arguments.b=1", "c.yaml: optimizer.argumen"),
    ],
)
def test_field_error_names_the_source_of_the_field(text: str, override: str, expected: str) -> None:
    lines = problems(text, override)
    assert all(line.startswith(expected) for line in lines), lines


def test_deeply_nested_key_reports_one_short_line() -> None:
    (line,) = problems("{}", f"training.epochs{'.x' * 5000}=1")
    assert line.startswith("command line: training.epochs: should be a valid integer; got {'x': ")
    assert len(line) < 200


def test_every_unreadable_override_is_reported() -> None:
    lines = problems("{}", "loss", "loss.r1=[", "training.epochs=2", "=3")
    assert [line.partition(":")[0] for line in lines] == ["command line"] * 3


def test_first_twenty_problems_are_shown_and_the_rest_counted() -> None:
    keys = [f"key{number}: 1" for number in range(6000)]
    lines = problems("\n".join(keys))
    assert len(lines) == 21
    assert lines[19].startswith("c.yaml: key19: unknown key")
    assert lines[20] == "... and 5,980 more problems"
    assert problems("\n".join(keys[:21]))[20:] == ["... and 1 more problem"]
    assert len(problems("\n".join(keys[:20]))) == 20


def test_keys_and_values_with_line_breaks_report_one_line() -> None:
    (line,) = problems('"a\\nerror: b\\u2028": 1')
    assert line == "c.yaml, line 1, column 1: a key should be a word"
    (line,) = problems("{}", "a\nb=[")
    assert line.startswith(r"command line: a\nb, line 1")
    (line,) = problems('data: {dataset: "a\\nb"}')
    assert r"such as ./a\nb; got 'a\nb'" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "got nothing"),
        ("- 1\n- 2", "got a list"),
        ("just words", "got a str"),
        ("data: {batch_size: 1}\ndata: {batch_size: 2}", "the key 'data' appears twice"),
        ("data: {batch_size: 1, batch_size: 2}", "the key 'batch_size' appears twice"),
        ("data: &a {batch_size: 1}\nmodel: *a", "aliases and tags are not allowed"),
        ("data: {batch_size: !!int 3}", "aliases and tags are not allowed"),
        ("data: !!python/object/apply:os.system [ls]", "aliases and tags are not allowed"),
        ("data:\n\tbatch_size: 1", "line 2"),
        ("data: {batch_size: 1", "line 1"),
        ("? [1, 2]\n: 3", "a key should be a word"),
        ("[" * 5000, "nested too deep"),
        ("\x00", "c.yaml"),
        ("data: 5", "data: should be a section with keys; got '5'"),
        ("data:", "data: should be a section with keys; got null"),
        ("optimizer: {lr: nan}", "lr: should be a finite number"),
        ("optimizer: {lr: .inf}", "lr"),
        ("optimizer: {lr: inf}", "lr: should be a finite number"),
        ("optimizer: {betas: [0.9]}", "optimizer.betas.1"),
        ("optimizer: {betas: [0.9, 1.0]}", "should be less than 1; got '1.0'"),
        ("training: {epochs: true}", "training.epochs"),
        ("training: {epochs: 1.5}", "training.epochs"),
        ("training: {seed: 99999999999999999999}", "training.seed"),
        ("training: {ema_decay: 1}", "should be less than 1"),
        ("loss: {adversarial: bec}", "should be one of bce, "),
        ("model: {architecture: dcgam}", "should be one of mlp, dcgan, conv; did you mean dcgan?"),
        ("model: {conditional: perhaps}", "model.conditional: should be a valid boolean"),
        ("loss: {adversarial: wgan}", "wgan needs weight_clip (0.01 in the paper)"),
        ("loss: {adversarial: wgan-gp}", "wgan-gp needs gradient_penalty (10 in the paper)"),
        ("loss: {adversarial: wgan, weight_clip: 0.01, r1: 1}", "choose one"),
        ("loss: {adversarial: wgan, weight_clip: 1, label_smoothing: 0.1}", "bce or minimax"),
        ("loss: {adversarial: hinge, label_smoothing: 0.1}", "bce or minimax"),
        ("loss: {weight_clip: 0.01}", "weight_clip is only used by wgan"),
        (
            "loss: {adversarial: wgan, weight_clip: 0.01}\nmodel: {spectral_norm: true}",
            "spectral_norm are two ways to bound D's weights: choose one",
        ),
        (
            "loss: {adversarial: wgan-gp, gradient_penalty: 10}\nmodel: {architecture: dcgan}",
            "D of dcgan normalizes over the batch",
        ),
        ("optimizer: {arguments: {alpha: nan}}", "optimizer.arguments.alpha"),
        ("model: {minibatch_stddev: true}", "only supported by architecture conv"),
        (
            "model: {architecture: conv, minibatch_stddev: true}\ndata: {batch_size: 30}",
            "batch_size must be a multiple of 4; got True, 30",
        ),
        ("training: {compile: on}\nloss: {r1: 1}", "which torch.compile does not support"),
        ("optimizer: {schedule: stepwise}", "should be 'constant', 'linear' or 'cosine'"),
        ("data: {dataset: stacked-mnist}\noutput: {evaluate_every_epochs: 1}", "leave it null"),
        ("data: {dataset: mnits}", "did you mean mnist?"),
    ],
)  # fmt: skip
def test_invalid_configuration_is_refused(text: str, expected: str) -> None:
    lines = problems(text)
    assert expected in "\n".join(lines)
    assert all(line.startswith("c.yaml") for line in lines)


def test_huge_file_is_refused() -> None:
    assert "larger than 64 KiB" in problems("# " + "x" * 10_000_000)[0]


def test_missing_file_suggests_the_preset_with_that_name() -> None:
    with pytest.raises(ConfigError, match=r"the preset of that name is --config mlp"):
        find_config("elsewhere/mlp.yaml")
    with pytest.raises(ConfigError, match=r"did you mean dcgan\?"):
        find_config("dcgam")
    Path("folder").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        find_config("folder")


def test_differing_keys_leaves_out_keys_that_a_resume_may_change() -> None:
    config = load_config("mlp")
    longer = load_config("mlp", ["training.epochs=40", "output.log_every_steps=1"])
    other = load_config("mlp", ["optimizer.lr=1e-3", "data.batch_size=8"])
    assert differing_keys(config, longer) == []
    assert differing_keys(config, other) == ["data.batch_size", "optimizer.lr"]


def test_optimizer_arguments_may_be_numbers_booleans_and_lists() -> None:
    text = "optimizer: {name: rmsprop, arguments: {alpha: 0.9, centered: true, weights: [1, 2]}}"
    Path("c.yaml").write_text(text)
    arguments = load_config("c.yaml", ["optimizer.arguments.eps=1e-6"]).optimizer.arguments
    assert arguments == {"alpha": 0.9, "centered": True, "weights": (1.0, 2.0), "eps": 1e-6}
    again = check_config(load_config("c.yaml").to_mapping(), "").optimizer.arguments
    assert again["centered"] is True
    assert differing_keys(
        load_config("mlp"), load_config("mlp", ["optimizer.arguments.eps=1"])
    ) == ["optimizer.arguments.eps"]


def test_wgan_needs_only_clipping_and_wgan_gp_only_the_penalty() -> None:
    for name, bound in (("wgan", "weight_clip: 0.01"), ("wgan-gp", "gradient_penalty: 10")):
        Path("c.yaml").write_text(f"loss: {{adversarial: {name}, {bound}}}")
        assert load_config("c.yaml").loss.adversarial == name
