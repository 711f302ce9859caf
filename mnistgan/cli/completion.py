"""Shell completion. Nothing here needs torch."""

from typing import get_args

from mnistgan.config import Config, flatten, presets
from mnistgan.names import names_for


def complete_preset(incomplete: str) -> list[str]:
    """The presets, for `--config`."""
    return [name for name in presets() if name.startswith(incomplete)]


def complete_override(incomplete: str) -> list[str]:
    """`loss.adversarial=` for a beginning of a key, and its values behind the `=`."""
    key, equals, _ = incomplete.partition("=")
    if not equals:
        known = [f"{name}=" for name in flatten(Config().to_mapping())]
    else:
        known = [f"{key}={value}" for value in _values(key)]
    return [word for word in known if word.startswith(incomplete)]


def _values(key: str) -> list[str]:
    """The names or the literals that a key may have."""
    section, _, name = key.partition(".")
    fields = getattr(Config.model_fields.get(section), "annotation", Config).model_fields
    literals = get_args(fields[name].annotation) if name in fields else ()
    words = [word for word in literals if isinstance(word, str)]
    return names_for(key) or words
