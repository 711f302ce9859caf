"""Suggest KEY=VALUE for a configuration key that was typed as an option, such as --epochs 5."""

import difflib
import shlex
from typing import Any

from typer.core import TyperCommand

from mnistgan.config import Config, flatten
from mnistgan.errors import CommandLineError

SYNONYMS = {"learning_rate": "optimizer.lr", "batchsize": "data.batch_size"}


class KeyCommand(TyperCommand):
    """A command with KEY=VALUE arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = [option for parameter in self.get_params(ctx) for option in parameter.opts]
        for index, word in enumerate(args):
            option, equals, value = word.partition("=")
            if word.startswith("--") and len(word) > 2 and option not in known:
                rest = args[index + 1 :]
                if not equals and rest and not rest[0].startswith("-"):
                    value, *rest = rest
                _suggest_key(ctx.info_name, option, value, args[:index], rest, known)
        return super().parse_args(ctx, args)


def _suggest_key(
    name: str, option: str, value: str, before: list[str], after: list[str], known: list[str]
) -> None:
    """Raise CommandLineError if an unknown option is nearer to a key than to a known option."""
    key = _key(option)
    near = difflib.get_close_matches(option, known, n=1, cutoff=0.8)
    if key is None or near:
        return
    words = shlex.join(["mnistgan", name, *before, f"{key}={value or '...'}", *after])
    raise CommandLineError(f"{option}: is a key of the configuration. Try: {words}")


def _key(option: str) -> str | None:
    """The dotted key that `--batch-size` or `--data.batch_size` means, if any."""
    name = option.lstrip("-").replace("-", "_").lower()
    keys = list(flatten(Config().to_mapping()))
    if name in keys:
        return name
    last_words = {key.rpartition(".")[2]: key for key in reversed(keys)} | SYNONYMS
    matches = difflib.get_close_matches(name, last_words, n=1, cutoff=0.8)
    longer = [word for word in last_words if word.startswith(f"{name}_")]
    near = matches or longer
    return last_words[near[0]] if near else None
