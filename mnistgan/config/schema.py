"""The configuration: its sections, keys and defaults."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, field_validator

MAX_CLASSES = 1_000
"""Of a data set"""
STDDEV_GROUP = 4
"""Images that model.minibatch_stddev compares with each other: neighbours in the batch"""
MAX_THREADS = 1024

Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["auto", "fp32", "bf16"]
Compilation = Literal["auto", "on", "off"]
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


class ModelConfig(Section):
    architecture: str = "mlp"
    """A name of the table of architectures."""
    z_dim: int = Field(100, ge=1, le=4096)
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
    minibatch_stddev: bool = False
    """Shows D the standard deviation over groups of four images, if its architecture has a place
    for it."""


class LossConfig(Section):
    """What D and G minimise, and what keeps D in bounds."""

    adversarial: str = "bce"
    """A name of the table of losses."""
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
    """A name of the table of optimizers: those of torch.optim, in small letters."""
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
    n_critic: int = Field(1, ge=1, le=100)
    """Updates of D for each update of G. An epoch is one pass of D over the data."""
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

    def to_mapping(self) -> dict[str, Any]:
        """The complete configuration as plain values, for a checkpoint."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The complete configuration, in the format that `--config` takes."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)


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
"""What a resume may change, since it does not change the steps that were taken. The keys of the
data say where it lies now: a resume compares the SHA-256 of the images."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing_keys(left: Config, right: Config) -> list[str]:
    """Dotted keys whose values differ, without those that a resume may change."""
    a, b = flatten(left.to_mapping()), flatten(right.to_mapping())
    keys = [key for key in (*a, *(b.keys() - a.keys())) if key not in RESUMABLE_KEYS]
    return [key for key in keys if a.get(key) != b.get(key)]
