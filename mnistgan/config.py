"""The configuration: its keys, its defaults, and how a YAML file and overrides become one."""

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from mnistgan.errors import ConfigError
from mnistgan.yaml_text import parse_yaml, read_yaml

MAX_CLASSES = 1_000
"""Of a data set"""
DEVIATION_GROUP = 4
"""Images that model.minibatch_deviation compares with each other: neighbours in the batch"""
COMMAND_LINE = "command line"

DatasetName = Literal[
    "mnist", "fashion-mnist", "kmnist", "qmnist", "emnist-digits", "stacked-mnist"
]
DATASET_NAMES: tuple[str, ...] = DatasetName.__args__  # type: ignore[attr-defined]

Architecture = Literal["mlp", "dcgan", "conv", "resnet"]
AdversarialLoss = Literal["bce", "minimax", "lsgan", "hinge", "wgan", "wgan-gp", "relativistic"]
PROBABILITY_LOSSES: frozenset[AdversarialLoss] = frozenset(("bce", "minimax"))
"""Those whose D says probabilities: sigmoids of its logits"""
Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["auto", "fp32", "bf16"]
Compilation = Literal["auto", "on", "off"]
MAX_THREADS = 1024
Beta = Annotated[float, Field(ge=0, lt=1)]
Argument = Annotated[
    StrictBool | float | tuple[float, ...],
    Field(union_mode="left_to_right"),
    BeforeValidator(lambda value: {"true": True, "false": False}.get(str(value).lower(), value)),
]


class Section(BaseModel):
    """What all sections share: values never change, unknown keys and NaN are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Section):
    dataset: str = "mnist"
    """A named data set, or the path of a folder with IDX files (a path has a separator in it)."""
    root: Path | None = None
    """Folder of the IDX files of a named data set; null: $MNISTGAN_DATA, then the MNIST that ships,
    then the cache or a download of the others."""
    batch_size: int = Field(64, ge=1, le=16384)

    @field_validator("dataset")
    @classmethod
    def known_or_path(cls, dataset: str) -> str:
        if dataset in DATASET_NAMES or any(mark in dataset for mark in "/\\") or dataset == ".":
            return dataset
        raise ValueError(
            f"should be one of {', '.join(DATASET_NAMES)}, or the path of a folder of IDX files "
            f"such as ./{dataset or 'digits'}{_near(dataset, DATASET_NAMES)}"
        )


class ModelConfig(Section):
    architecture: Architecture = "mlp"
    latent_dim: int = Field(100, ge=1, le=4096)
    """Length of the noise vector z, drawn from a standard normal."""
    temperature: float = Field(1.0, gt=0, le=2)
    """Standard deviation of the z that pictures are drawn from, more varied above 1; training keeps
    to 1."""
    width: float = Field(1.0, ge=1 / 64, le=8)
    """Multiplies every hidden width and channel count."""
    conditional: bool = False
    """Whether G and D are told the class of each image."""
    spectral_norm: bool = False
    """Divides each weight of D by its largest singular value."""
    minibatch_deviation: bool = False
    """Shows D how much groups of four images differ; of conv."""

    @model_validator(mode="after")
    def has_a_place_for_the_deviation(self) -> Self:
        if self.minibatch_deviation and self.architecture != "conv":
            raise ValueError("minibatch_deviation is a part of architecture conv only")
        return self

    @model_validator(mode="after")
    def normalises_no_zeros(self) -> Self:
        if self.spectral_norm and self.architecture == "resnet":
            raise ValueError(
                "spectral_norm cannot divide the weights of resnet, some of which begin at zero"
            )
        return self


class LossConfig(Section):
    """What D and G minimise, and what keeps D in bounds."""

    adversarial: AdversarialLoss = "bce"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """D is asked to believe in real images with 1 minus this only."""
    r1: float = Field(0.0, ge=0, le=1e6)
    """Weight of the penalty on D's gradient at real images."""
    r2: float = Field(0.0, ge=0, le=1e6)
    """Weight of the penalty on D's gradient at generated images."""
    penalty_every_steps: int = Field(1, ge=1, le=1000)
    """R1 and R2 at each k-th step only, k times as heavy."""
    gradient_penalty: float = Field(0.0, ge=0, le=1e6)
    """Weight of the penalty on gradients of D whose norm is not 1, between real and generated."""
    weight_clip: float | None = Field(None, gt=0, le=1e3)
    """Largest absolute value of D's weights; null: no clipping."""

    @model_validator(mode="after")
    def makes_sense(self) -> Self:
        problems = [problem for problem, applies in self._contradictions() if applies]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _contradictions(self) -> list[tuple[str, bool]]:
        penalised = self.gradient_penalty > 0 or self.r1 > 0 or self.r2 > 0
        return [
            (
                "label_smoothing needs a D that says probabilities: "
                f"{' or '.join(sorted(PROBABILITY_LOSSES))}",
                self.label_smoothing > 0 and self.adversarial not in PROBABILITY_LOSSES,
            ),
            (
                "weight_clip and gradient penalties are two ways to bound the same slope: "
                "choose one",
                self.weight_clip is not None and penalised,
            ),
            (
                "wgan needs weight_clip (0.01 in the paper)",
                self.adversarial == "wgan" and self.weight_clip is None,
            ),
            (
                "wgan-gp needs gradient_penalty (10 in the paper)",
                self.adversarial == "wgan-gp" and self.gradient_penalty == 0,
            ),
            (
                "weight_clip belongs to wgan",
                self.adversarial != "wgan" and self.weight_clip is not None,
            ),
        ]


class AugmentConfig(Section):
    """What happens to real and generated images alike, before D sees them."""

    translation: int = Field(0, ge=0, le=14)
    """Pixels that an image is moved by at most, each way."""
    instance_noise: float = Field(0.0, ge=0, le=10)
    """Standard deviation of the noise on the pixels at the start; it falls linearly to 0."""


class OptimizerConfig(Section):
    """The same settings for G and D, but for `d_lr`."""

    name: str = "adam"
    """An optimizer of torch.optim, in small letters; not lbfgs, muon and sparseadam."""
    lr: float = Field(2e-4, gt=0, le=1)
    d_lr: float | None = Field(None, gt=0, le=1)
    """Learning rate of D; null: that of G."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """For the optimizers that have them."""
    arguments: dict[str, Argument] = {}
    """Further arguments of that optimizer."""
    schedule: Schedule = "constant"
    """How the learning rates go to 0 over training.epochs."""
    decay_from: float = Field(0.0, ge=0, lt=1)
    """The share of training.epochs after which they begin to fall."""


class TrainingConfig(Section):
    epochs: int = Field(20, ge=1, le=1_000_000)
    max_steps: int | None = Field(None, ge=1)
    """Stops the training early, after so many updates of G; null: never."""
    d_updates: int = Field(1, ge=1, le=100)
    """Updates of D for each update of G."""
    reuse_fakes: bool = False
    """Updates G on the images that D has just seen, which saves a pass of G, not on new ones."""
    seed: int = Field(0, ge=0, lt=2**63)
    ema_decay: float | None = Field(None, ge=0, lt=1)
    """Decay per step of the averaged generator that samples are drawn from; null: no averaging."""
    precision: Precision = "auto"
    """Of the matrix products and convolutions of a step; weights and updates are float32 always."""
    compile: Compilation = "auto"
    """Whether torch.compile rewrites the two networks."""
    threads: int | Literal["auto"] = "auto"
    """CPU threads that torch computes with; auto: all cores that this process may use."""

    @field_validator("threads", mode="plain")
    @classmethod
    def auto_or_count(cls, threads: object) -> int | str:
        if threads == "auto":
            return "auto"
        if re.fullmatch(r"\d{1,4}", str(threads)) and 1 <= int(str(threads)) <= MAX_THREADS:
            return int(str(threads))
        raise ValueError(f"should be auto or a whole number from 1 to {MAX_THREADS}")


class OutputConfig(Section):
    sample_every_epochs: float = Field(1.0, ge=1e-4, le=1_000_000)
    """A picture at the first step that reaches each multiple; a fraction is allowed."""
    sample_count: int = Field(64, ge=1, le=1024)
    log_every_steps: int = Field(50, ge=1, le=1_000_000)
    checkpoint_every_seconds: float = Field(60.0, gt=0, le=86_400)
    evaluate_every_epochs: float | None = Field(None, ge=1e-4, le=1_000_000)
    """Scores the generator at each multiple and keeps `best.pt`; null: never."""
    keep_every_epochs: int | None = Field(None, ge=1)
    """Keeps `checkpoints/epoch_NNN.pt` at each multiple; null: only latest and previous."""


class Config(Section):
    """All that decides a training. Every key has a default, so an override alone is enough."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def fills_whole_groups(self) -> Self:
        if self.model.minibatch_deviation and self.data.batch_size % DEVIATION_GROUP:
            raise ValueError(
                f"model.minibatch_deviation compares groups of {DEVIATION_GROUP} images, so that "
                f"data.batch_size has to be a multiple of {DEVIATION_GROUP}, not "
                f"{self.data.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def bounds_the_slope_of_d(self) -> Self:
        if self.model.spectral_norm and self.loss.weight_clip is not None:
            raise ValueError(
                "loss.weight_clip bounds weights that model.spectral_norm divides by their size: "
                "choose one"
            )
        if self.model.architecture == "dcgan" and self.loss.gradient_penalty > 0:
            raise ValueError(
                "loss.gradient_penalty is of the slope at each image alone, and D of dcgan "
                "normalises over the batch; take another model.architecture"
            )
        return self

    @model_validator(mode="after")
    def compiles_no_penalties(self) -> Self:
        loss = self.loss
        if self.training.compile == "on" and (loss.r1 or loss.r2 or loss.gradient_penalty):
            raise ValueError(
                "training.compile on: what torch.compile makes cannot be differentiated twice, as "
                "loss.r1, loss.r2 and loss.gradient_penalty need it"
            )
        return self

    @model_validator(mode="after")
    def scores_itself_by_single_digits(self) -> Self:
        if self.data.dataset == "stacked-mnist" and self.output.evaluate_every_epochs is not None:
            raise ValueError(
                "output.evaluate_every_epochs scores single digits, which data.dataset "
                "stacked-mnist has not; leave it null"
            )
        return self

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], origin: str, origins: Mapping[str, str] | None = None
    ) -> Self:
        """Check `values`; `origins` names the source of single dotted keys, `origin` of the rest.

        Raises ConfigError with one line for each problem.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                "\n".join(_problem(details, origin, origins or {}) for details in error.errors())
            ) from None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values only: what a checkpoint holds."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The complete configuration, in the format that `--config` takes."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)


# The keys that a resume may change without changing what has been trained so far. Those of the data
# only say where it lies now: a resume holds the images against the SHA-256 of the first ones.
RESUMABLE_KEYS = (
    "data.dataset",
    "data.root",
    "training.epochs",
    "training.max_steps",
    "output.sample_every_epochs",
    "output.log_every_steps",
    "output.checkpoint_every_seconds",
    "output.evaluate_every_epochs",
    "output.keep_every_epochs",
)


def load_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file or of a preset, with `key=value` words.

    Raises ConfigError with all problems of the file and of the overrides, a line each.
    """
    path = find_config(source)
    return apply_overrides(read_yaml(path), overrides, origin=str(path))


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str], origin: str) -> Config:
    """`values` changed by trailing `key=value` words; the values of words are read as YAML."""
    merged = copy.deepcopy(dict(values))
    origins: dict[str, str] = {}
    for key, value in parse_overrides(overrides).items():
        *sections, name = key.split(".")
        target: Any = merged
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if isinstance(target, dict):
            target[name] = value
        origins[key] = COMMAND_LINE
    return Config.from_mapping(merged, origin, origins)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`data.batch_size=64` as {"data.batch_size": "64"}. Raises ConfigError."""
    parsed = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"{COMMAND_LINE}: expected key=value such as training.epochs=2, found {word!r}"
            )
        parsed[key] = parse_yaml(text.encode(errors="surrogateescape"), f"{COMMAND_LINE}: {key}")
    return parsed


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing_keys(left: Config, right: Config) -> list[str]:
    """Dotted keys whose values differ, those that a resume may change left out."""
    a, b = flatten(left.to_mapping()), flatten(right.to_mapping())
    keys = [key for key in (*a, *(b.keys() - a.keys())) if key not in RESUMABLE_KEYS]
    return [key for key in keys if a.get(key) != b.get(key)]


def presets() -> dict[str, Path]:
    """The presets by name: `presets/` of an installed package, `configs/` of a checkout."""
    package = Path(__file__).parent
    folders = (package / "presets", package.parent / "configs")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(source: str) -> Path:
    """A path that exists, or the preset of that name. Raises ConfigError that lists the presets."""
    if Path(source).is_file():
        return Path(source)
    known = presets()
    if source in known:
        return known[source]
    stem = Path(source).stem
    if Path(source).is_dir():
        raise ConfigError(f"--config {source}: is a folder; a YAML file or a preset is wanted")
    hint = (
        f"the preset of that name is --config {stem}"
        if stem in known
        else f"the presets are {', '.join(known)}{_near(stem, known)}"
    )
    raise ConfigError(f"--config {source}: there is no such file; {hint}")


def _problem(details: Any, origin: str, origins: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in details["loc"])
    # An override is to blame for its own key, for a section around it and for an item within it.
    related = [
        name
        for name in origins
        if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")
    ]
    source = origins[related[0]] if related else origin
    match details["type"]:
        case "extra_forbidden":
            return f"{source}: {key}: unknown key{_near_key(key)}"
        case "model_type" | "model_attributes_type":
            text = "should be a section of keys"
        case "value_error":
            text = str(details["ctx"]["error"])
            if isinstance(details["input"], Mapping):  # a combination of keys, no single value
                return ": ".join(filter(None, (source, key, text)))
        case _:
            text = details["msg"].removeprefix("Input ")
    return f"{source}: {key}: {text}; found {_shorten(details['input'])}"


def _shorten(value: object) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _near_key(key: str) -> str:
    """The nearest known key: by the whole dotted name, or by the last word in any section."""
    known = list(flatten(Config().to_mapping()))
    last_words = {name.rpartition(".")[2]: name for name in known}
    matches = difflib.get_close_matches(key, [*known, *Config.model_fields], n=1)
    if not matches:
        words = difflib.get_close_matches(key.rpartition(".")[2], last_words, n=1)
        matches = [last_words[word] for word in words]
    if matches:
        return f"; did you mean {matches[0]}?"
    siblings = [name for name in known if name.startswith(f"{key.partition('.')[0]}.")]
    return f"; known are {', '.join(siblings or Config.model_fields)}"


def _near(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
