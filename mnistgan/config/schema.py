"""The configuration: its sections, keys and defaults."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    WithJsonSchema,
    field_validator,
)

MAX_CLASSES = 1_000
"""Largest number of classes of a data set"""
STDDEV_GROUP = 4
"""Number of neighboring images in a batch that model.minibatch_stddev compares"""
MAX_EPOCHS = 1_000_000
MAX_STEPS = 10**12
MAX_THREADS = 1024
THREADS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"enum": ["auto"]}, {"type": "integer", "minimum": 1, "maximum": MAX_THREADS}]
}

Schedule = Literal["constant", "linear", "cosine"]
Precision = Literal["auto", "fp32", "bf16"]
Compilation = Literal["auto", "on", "off"]
Beta = Annotated[float, Field(ge=0, lt=1)]
Argument = Annotated[
    StrictBool | float | tuple[float, ...],
    Field(union_mode="left_to_right"),
    BeforeValidator(lambda value: {"true": True, "false": False}.get(str(value).lower(), value)),
]
Channels = Annotated[
    Literal[1, 3],
    BeforeValidator(lambda value: {"1": 1, "3": 3}.get(str(value), value)),
]


class Section(BaseModel):
    """Common settings of all sections: values are frozen; unknown keys and NaN are rejected."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataConfig(Section):
    """The images to train on."""

    dataset: str = "mnist"
    """Name of a data set, or path of your own data: a folder of pictures or of IDX files, or an
    .npz file. A path must contain a separator."""
    channels: Channels | None = None
    """Channels of your own pictures: 1 converts them to gray, 3 keeps their colors. null: 1; the
    other data sets decide it themselves."""
    root: Path | None = None
    """Folder with the IDX files of a named data set. null: $MNISTGAN_DATA if it is set, else the
    MNIST files in the package; for other data sets the cache or a download."""
    batch_size: int = Field(64, ge=1, le=16384)
    """Number of real images per update of D; G generates the same number."""


class ModelConfig(Section):
    """The two networks."""

    architecture: str = "mlp"
    """Architecture of G and D, by name."""
    z_dim: int = Field(100, ge=1, le=4096)
    """Length of the noise vector z, which has a standard normal distribution."""
    temperature: float = Field(1.0, gt=0, le=2)
    """Standard deviation of z for sampling. Values above 1 give more varied but less precise
    images. Training always uses 1."""
    width: float = Field(1.0, ge=1 / 64, le=8)
    """Factor by which every hidden width and channel count is multiplied."""
    conditional: bool = False
    """Pass the class of each image to G and D."""
    clusters: int | None = Field(None, ge=2, le=200)
    """Divide the training images, or those of each class if the model is conditional, into this
    many clusters of similar images. D gets the cluster of each image, and G chooses it from z.
    null: no clusters."""
    spectral_norm: bool = False
    """Apply spectral normalization to every layer of D."""
    minibatch_stddev: bool = False
    """Append the standard deviation over groups of four images to D's features as a feature map."""


class LossConfig(Section):
    """The adversarial loss and the regularization of D."""

    adversarial: str = "bce"
    """Adversarial loss, by name."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """D's target for real images is 1 minus this (one-sided label smoothing)."""
    r1: float = Field(0.0, ge=0, le=1e6)
    """Weight of the R1 penalty: D's squared gradient norm at real images."""
    r2: float = Field(0.0, ge=0, le=1e6)
    """Weight of the R2 penalty: D's squared gradient norm at generated images."""
    penalty_every_steps: int = Field(1, ge=1, le=1000)
    """Apply R1 and R2 only at every k-th step, with k times the weight (lazy regularization)."""
    gradient_penalty: float = Field(0.0, ge=0, le=1e6)
    """Weight of the WGAN-GP penalty, which keeps D's gradient norm near 1 between real and
    generated images."""
    weight_clip: float | None = Field(None, gt=0, le=1e3)
    """Clamp D's weights to this absolute value after each update. null: no clipping."""


class AugmentConfig(Section):
    """Augmentation of real and generated images before D sees them."""

    translation: int = Field(0, ge=0, le=14)
    """Shift images by up to this many pixels in each direction."""
    instance_noise: float = Field(0.0, ge=0, le=10)
    """Initial standard deviation of Gaussian noise on pixels in [-1, 1]. It decreases linearly to
    0 over training.epochs or training.steps."""


class OptimizerConfig(Section):
    """The optimizer of G and D. Both use the same settings, except for `d_lr`."""

    name: str = "adam"
    """Optimizer of torch.optim, in lower case."""
    lr: float = Field(2e-4, gt=0, le=1)
    """Learning rate."""
    d_lr: float | None = Field(None, gt=0, le=1)
    """Learning rate of D. null: the same as G's."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Decay rates of the moment estimates, for Adam and similar optimizers."""
    arguments: dict[str, Argument] = {}
    """Further arguments of the optimizer, such as `momentum`."""
    schedule: Schedule = "constant"
    """How the learning rates change over training.epochs or training.steps: constant, or decreasing
    to 0."""
    decay_from: float = Field(0.0, ge=0, lt=1)
    """Fraction of training.epochs or training.steps after which the learning rates start to
    decrease."""


class TrainingConfig(Section):
    """The length, seed and speed of the training."""

    epochs: int = Field(20, ge=1, le=MAX_EPOCHS)
    """Number of passes of D over the data. Schedules span this length."""
    steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    """Number of updates of G, in place of training.epochs. Schedules span this length. null:
    training.epochs decides."""
    max_steps: int | None = Field(None, ge=1)
    """Stop early after this many updates of G. null: no early stop."""
    n_critic: int = Field(1, ge=1, le=100)
    """Number of updates of D per update of G."""
    reuse_fakes: bool = False
    """Update G with the images that D has just seen, which saves a forward pass of G."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the weights, the noise and the order of the images."""
    ema_decay: float | None = Field(None, ge=0, lt=1)
    """Decay per step of the moving average of G, which draws the samples. null: no average."""
    precision: Precision = "auto"
    """Precision of matrix products and convolutions. Weights and updates are always float32."""
    compile: Compilation = "auto"
    """Whether to run both networks through torch.compile."""
    cuda_graphs: bool = True
    """On an NVIDIA GPU, capture the work of a step once and replay it as a CUDA graph, which gives
    the same results much faster. false: for networks of your own that cannot be captured."""
    threads: Annotated[int | Literal["auto"], WithJsonSchema(THREADS_SCHEMA)] = "auto"
    """Number of CPU threads of torch. auto: as many as the process has cores. If several training
    runs share a machine, divide the cores among them: otherwise all are far slower."""

    @property
    def length_key(self) -> str:
        """The key that sets the length of the training and of its schedules."""
        return "training.epochs" if self.steps is None else "training.steps"

    @field_validator("threads", mode="plain")
    @classmethod
    def auto_or_count(cls, threads: object) -> int | str:
        if threads == "auto":
            return "auto"
        if re.fullmatch(r"\d{1,4}", str(threads)) and 1 <= int(str(threads)) <= MAX_THREADS:
            return int(str(threads))
        raise ValueError(f"should be auto or a whole number from 1 to {MAX_THREADS}")


class OutputConfig(Section):
    """The files of a run and how often they are written."""

    sample_every_epochs: float | None = Field(None, ge=1e-4, le=1_000_000)
    """Draw a grid of samples each time this many epochs have passed; fractions are allowed. null:
    spread the grids over the training, denser at the beginning, where the samples change most."""
    sample_count: int = Field(64, ge=1, le=1024)
    """Number of images in each grid. A grid with one class per column leaves out an incomplete
    last row."""
    log_every_steps: int = Field(50, ge=1, le=1_000_000)
    """Interval between two lines of metrics, in steps."""
    checkpoint_every_seconds: float = Field(60.0, gt=0, le=86_400)
    """Save a checkpoint at this interval, and also after each epoch and at the end."""
    evaluate_every_epochs: float | None = Field(None, ge=1e-4, le=1_000_000)
    """Score a few samples each time this many epochs have passed, and keep the best checkpoint as
    best.pt. null: never."""
    keep_every_epochs: int | None = Field(None, ge=1)
    """Keep checkpoints/epoch_NNN.pt each time this many epochs have passed. null: keep only
    latest.pt and previous.pt."""
    tensorboard: bool = False
    """Also write the metrics, the grids and the configuration for TensorBoard, in tensorboard/ of
    the run folder. Needs the extra tensorboard."""


class Config(Section):
    """The complete configuration of a training run. Every key has a default."""

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
        """The complete configuration as YAML, in the format that `--config` reads."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)


RESUMABLE_KEYS = (
    "data.dataset",
    "data.root",
    "training.epochs",
    "training.steps",
    "training.max_steps",
    "training.cuda_graphs",
    "output.sample_every_epochs",
    "output.log_every_steps",
    "output.checkpoint_every_seconds",
    "output.evaluate_every_epochs",
    "output.keep_every_epochs",
    "output.tensorboard",
)
"""Keys that may change when a run is resumed, because they do not affect the steps already taken.
data.dataset and data.root are included because the data may move; resuming compares the SHA-256 of
the images."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as one level of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing_keys(left: Config, right: Config) -> list[str]:
    """Dotted keys whose values differ, except RESUMABLE_KEYS."""
    a, b = flatten(left.to_mapping()), flatten(right.to_mapping())
    keys = [key for key in (*a, *(b.keys() - a.keys())) if key not in RESUMABLE_KEYS]
    return [key for key in keys if a.get(key) != b.get(key)]
