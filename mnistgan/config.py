"""The configuration: its keys, its defaults, and how a YAML file and overrides become one."""

import copy
import difflib
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from itertools import accumulate, chain, islice
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

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
MAX_PROBLEMS = 20
"""That are shown of one configuration"""
SHORT = reprlib.Repr()
"""For values that may be nested deeper than `repr` can go"""
SHORT.maxstring = SHORT.maxlong = SHORT.maxother = 60

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


class Contradiction(NamedTuple):
    """Values that are valid one by one and do not work together."""

    keys: tuple[str, ...]
    """Two or more dotted keys"""
    applies: Callable[..., bool]
    """Takes the values of `keys`, in that order."""
    text: str

    def depends_on(self, locations: Set[tuple[str | int, ...]]) -> bool:
        """Whether one of the keys, or its whole section, is among `locations`."""
        paths = [tuple(key.split(".")) for key in self.keys]
        return any(path in locations or path[:1] in locations for path in paths)


PENALTIES = ("loss.r1", "loss.r2", "loss.gradient_penalty")
CONTRADICTIONS = (
    Contradiction(
        ("model.minibatch_deviation", "model.architecture"),
        lambda deviation, architecture: deviation and architecture != "conv",
        "minibatch_deviation is a part of architecture conv only",
    ),
    Contradiction(
        ("model.minibatch_deviation", "data.batch_size"),
        lambda deviation, batch_size: deviation and batch_size % DEVIATION_GROUP != 0,
        f"minibatch_deviation compares groups of {DEVIATION_GROUP} images, so batch_size has to be "
        f"a multiple of {DEVIATION_GROUP}",
    ),
    Contradiction(
        ("model.spectral_norm", "model.architecture"),
        lambda spectral_norm, architecture: spectral_norm and architecture == "resnet",
        "spectral_norm cannot divide the weights of resnet, some of which begin at zero",
    ),
    Contradiction(
        ("model.spectral_norm", "loss.weight_clip"),
        lambda spectral_norm, weight_clip: spectral_norm and weight_clip is not None,
        "weight_clip bounds weights that spectral_norm divides by their size: choose one",
    ),
    Contradiction(
        ("loss.label_smoothing", "loss.adversarial"),
        lambda amount, adversarial: amount > 0 and adversarial not in PROBABILITY_LOSSES,
        "label_smoothing needs a D that says probabilities: "
        f"{' or '.join(sorted(PROBABILITY_LOSSES))}",
    ),
    Contradiction(
        ("loss.adversarial", "loss.weight_clip"),
        lambda adversarial, weight_clip: adversarial == "wgan" and weight_clip is None,
        "wgan needs weight_clip (0.01 in the paper)",
    ),
    Contradiction(
        ("loss.adversarial", "loss.gradient_penalty"),
        lambda adversarial, penalty: adversarial == "wgan-gp" and penalty == 0,
        "wgan-gp needs gradient_penalty (10 in the paper)",
    ),
    Contradiction(
        ("loss.weight_clip", "loss.adversarial"),
        lambda weight_clip, adversarial: weight_clip is not None and adversarial != "wgan",
        "weight_clip belongs to wgan",
    ),
    *(
        Contradiction(
            ("loss.weight_clip", penalty),
            lambda weight_clip, weight: weight_clip is not None and weight > 0,
            "weight_clip and gradient penalties are two ways to bound the same slope: choose one",
        )
        for penalty in PENALTIES
    ),
    Contradiction(
        ("loss.gradient_penalty", "model.architecture"),
        lambda penalty, architecture: penalty > 0 and architecture == "dcgan",
        "gradient_penalty is of the slope at each image alone, and D of dcgan normalises over the "
        "batch; take another architecture",
    ),
    *(
        Contradiction(
            ("training.compile", penalty),
            lambda compilation, weight: compilation == "on" and weight > 0,
            "what torch.compile makes cannot be differentiated twice, as a gradient penalty needs",
        )
        for penalty in PENALTIES
    ),
    Contradiction(
        ("output.evaluate_every_epochs", "data.dataset"),
        lambda every, dataset: every is not None and dataset == "stacked-mnist",
        "evaluate_every_epochs scores single digits, which stacked-mnist has not; leave it null",
    ),
)


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
    def agrees_with_itself(self) -> Self:
        if found := contradictions(self):
            raise ValueError("; ".join(f"{', '.join(rule.keys)}: {rule.text}" for rule in found))
        return self

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, Any], origin: str, origins: Mapping[str, str] | None = None
    ) -> Self:
        """Check `values`; `origins` names the source of single dotted keys, `origin` of the rest.

        Raises ConfigError with one line for each problem: the invalid fields of all sections, then
        the contradictions between those that are valid. Beyond MAX_PROBLEMS they are counted only.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # An error without a location comes from `agrees_with_itself`. It is left out because
            # pydantic calls that only if all fields are valid.
            fields = [details for details in error.errors() if details["loc"]]
        invalid = {details["loc"][:2] for details in fields}
        valid = _valid_part(values, invalid)
        found = [rule for rule in contradictions(valid) if not rule.depends_on(invalid)]
        source = partial(_source, origin=origin, origins=origins or {})
        problems = chain(
            (_field_problem(details, source) for details in fields),
            (_contradiction_problem(rule, valid, source) for rule in found),
        )
        raise _refusal(problems, len(fields) + len(found)) from None

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


def contradictions(config: Config) -> list[Contradiction]:
    """Those of CONTRADICTIONS that apply to `config`."""
    return [rule for rule in CONTRADICTIONS if rule.applies(*attrgetter(*rule.keys)(config))]


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
        target = merged
        for depth, section in enumerate(sections, start=1):
            if not isinstance(target.get(section), dict):
                target[section] = {}
                origins[".".join(sections[:depth])] = COMMAND_LINE
            target = target[section]
        target[name] = value
        origins[key] = COMMAND_LINE
    return Config.from_mapping(merged, origin, origins)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`data.batch_size=64` as {"data.batch_size": "64"}.

    Raises ConfigError with one line for each word that cannot be read.
    """
    parsed = {}
    problems = []
    for word in overrides:
        key, equals, text = word.partition("=")
        try:
            if not equals or not key:
                raise ConfigError(
                    f"{COMMAND_LINE}: expected key=value such as training.epochs=2, found {word!r}"
                )
            origin = f"{COMMAND_LINE}: {key}"
            parsed[key] = parse_yaml(text.encode(errors="surrogateescape"), origin)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise _refusal(problems, len(problems))
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


def _valid_part(values: Mapping[str, Any], invalid: Set[tuple[str | int, ...]]) -> Config:
    """The fields of `values` whose locations are not `invalid`, with defaults for the rest.

    Contradictions in it are not refused.
    """
    sections = {}
    for section, defaults in Config():
        given = values.get(section)
        known = given if isinstance(given, Mapping) else {}
        sections[section] = type(defaults).model_validate(
            {
                name: known[name]
                for name in known.keys() & type(defaults).model_fields.keys()
                if (section, name) not in invalid
            }
        )
    return Config.model_construct(**sections)


def _source(key: str, origin: str, origins: Mapping[str, str]) -> str:
    """Where the value of a dotted key came from: with itself, or with what it is a part of."""
    key_and_parents = accumulate(key.split("."), "{}.{}".format)  # a, a.b, a.b.c
    return next((origins[name] for name in key_and_parents if name in origins), origin)


def _field_problem(details: Any, source: Callable[[str], str]) -> str:
    key = ".".join(str(part) for part in details["loc"])
    where = f"{source(key)}: {key}"
    match details["type"]:
        case "extra_forbidden":
            return f"{where}: unknown key{_near_key(key)}"
        case "model_type" | "model_attributes_type":
            text = "should be a section of keys"
        case "value_error":
            text = str(details["ctx"]["error"])
        case _:
            text = details["msg"].removeprefix("Input ")
    return f"{where}: {text}; found {_shorten(details['input'])}"


def _contradiction_problem(
    rule: Contradiction, config: Config, source: Callable[[str], str]
) -> str:
    """Blames the command line if any of the keys came from it."""
    sources = [source(key) for key in rule.keys]
    blamed = COMMAND_LINE if COMMAND_LINE in sources else sources[0]
    found = ", ".join(map(_shorten, attrgetter(*rule.keys)(config)))
    return f"{blamed}: {', '.join(rule.keys)}: {rule.text}; found {found}"


def _refusal(problems: Iterable[str], count: int) -> ConfigError:
    """The first MAX_PROBLEMS of `count` problems, a line each, and how many more there are."""
    lines = [_one_line(problem) for problem in islice(problems, MAX_PROBLEMS)]
    if rest := count - len(lines):
        lines.append(f"... and {rest:,} more problem{'s' if rest > 1 else ''}")
    return ConfigError("\n".join(lines))


def _one_line(text: str) -> str:
    """`text` with line breaks and other control characters escaped."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def _shorten(value: object) -> str:
    text = "null" if value is None else SHORT.repr(value)
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
