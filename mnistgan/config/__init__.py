"""The configuration of a training run: schema, rules, loading. Nothing here needs torch."""

from mnistgan.config.checking import check_config
from mnistgan.config.loading import apply_overrides, load_config, parse_overrides
from mnistgan.config.presets import find_config, preset_path, presets, summary_of
from mnistgan.config.rules import Rule
from mnistgan.config.schema import (
    MAX_CLASSES,
    MAX_EPOCHS,
    MAX_STEPS,
    RESUMABLE_KEYS,
    STDDEV_GROUP,
    AugmentConfig,
    Compilation,
    Config,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    OutputConfig,
    Precision,
    differing_keys,
    flatten,
)
from mnistgan.config.suggestions import did_you_mean

__all__ = [
    "MAX_CLASSES",
    "MAX_EPOCHS",
    "MAX_STEPS",
    "RESUMABLE_KEYS",
    "STDDEV_GROUP",
    "AugmentConfig",
    "Compilation",
    "Config",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "OutputConfig",
    "Precision",
    "Rule",
    "apply_overrides",
    "check_config",
    "did_you_mean",
    "differing_keys",
    "find_config",
    "flatten",
    "load_config",
    "parse_overrides",
    "preset_path",
    "presets",
    "summary_of",
]
