"""Shell completion. This module does not need torch."""

from typing import get_args

from mnistgan.config import Config, flatten, presets
from mnistgan.names import names_for


def complete_preset(incomplete: str) -> list[str]:
    """Names of presets that begin with `incomplete`, for `--config`."""
    return [name for name in presets() if name.startswith(incomplete)]


def complete_override(incomplete: str) -> list[str]:
    """Complete a key, as in `loss.adversarial=`, or its value after the `=`."""
    key, equals, _ = incomplete.partition("=")
    if not equals:
        known = [f"{name}=" for name in flatten(Config().to_mapping())]
    else:
        known = [f"{key}={value}" for value in _values(key)]
    return [word for word in known if word.startswith(incomplete)]


def _values(key: str) -> list[str]:
    """The names or literals that are allowed as the value of a key."""
    section, _, name = key.partition(".")
    fields = getattr(Config.model_fields.get(section), "annotation", Config).model_fields
    literals = get_args(fields[name].annotation) if name in fields else ()
    words = [word for word in literals if isinstance(word, str)]
    return names_for(key) or words
