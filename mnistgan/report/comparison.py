"""Compare runs: group those that differ only by their seed, and rank those that are scored alike.

All results are plain values; `dataclasses.asdict` turns them into JSON.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from statistics import fmean, stdev

from mnistgan.config import flatten
from mnistgan.report.facts import MAX_SHOWN, RunFacts, in_yaml
from mnistgan.report.scored import Record, Score, ScoredRun, Yardstick, training_images

SCHEMA = 1
NOT_COMPARED = ("training.seed", "data.root")
"""Keys that may differ within a group, besides all keys of `output`"""
WHOLE = ","
"""Format of a whole number; its mean has one decimal"""
UNLIKE = {
    "judge_sha256": "judges",
    "n": "numbers of samples",
    "dataset": "data sets",
    "images_sha256": "real images",
}
"""What differs between scores that cannot be ranked together, by field of Yardstick"""


@dataclass(frozen=True)
class Spread:
    """A quantity of the runs of a group."""

    mean: float
    deviation: float | None
    """Standard deviation of the values, with n - 1 in the denominator; None for one value"""
    values: tuple[float, ...]
    """In the order of the runs of the group that have one"""


@dataclass(frozen=True)
class ComparedRun:
    label: str
    """The name of the run, or its folder if several runs have this name"""
    path: str
    seed: int
    state: str
    """training, finished, stopped or new"""
    steps: int
    epoch: float
    ranking: int | None
    """Index of its scores in `rankings`; None without usable scores"""


@dataclass(frozen=True)
class Group:
    """Runs that differ only by their seed."""

    label: str
    runs: tuple[ComparedRun, ...]
    differences: Mapping[str, str]
    """Values of the keys and conditions that differ between groups"""
    seconds: Spread | None
    """Time of the training; None without metrics"""
    images_per_second: Spread | None


@dataclass(frozen=True)
class GroupScore:
    spread: Spread
    text: str
    is_best: bool
    """Whether no other group has a better mean, as far as the text shows"""


@dataclass(frozen=True)
class RankedScore:
    """One score of all groups."""

    name: str
    better: str
    """lower, higher, as real, or "" if no direction is better"""
    meaning: str
    real: str
    """The score of real images; "" if it is unknown"""
    groups: tuple[GroupScore | None, ...]
    """In the order of the groups; None for those without this score"""


@dataclass(frozen=True)
class Ranking:
    """The scores that were measured by the same yardstick."""

    yardstick: Yardstick
    judge: str | None
    """The name of the judge; None if there can be none for the data set"""
    scored: tuple[str, ...]
    """For each group, which of its runs were scored and after how many steps; "" for none"""
    scores: tuple[RankedScore, ...]


@dataclass(frozen=True)
class Comparison:
    schema: int
    groups: tuple[Group, ...]
    rankings: tuple[Ranking, ...]
    """At most one per yardstick. Scores of different rankings must not be compared"""
    notes: tuple[str, ...]
    """What limits the comparison, in sentences"""


def group_runs(runs: Iterable[RunFacts]) -> list[list[RunFacts]]:
    """Put the runs whose configuration and conditions differ only by the seed together.

    The groups, and the runs of each, keep their order. The keys of `output` and `data.root` are not
    compared, because they do not affect the training; the hash of the images is.
    """
    groups: dict[tuple[tuple[str, str], ...], list[RunFacts]] = {}
    for run in runs:
        groups.setdefault(tuple(_conditions(run).items()), []).append(run)
    return list(groups.values())


def compare_groups(groups: Sequence[Sequence[RunFacts]]) -> Comparison:
    """Compare the groups of `group_runs`. Evaluations that are damaged count as missing."""
    names = Counter(run.name for group in groups for run in group)
    members = [
        [
            ScoredRun(run, run.name if names[run.name] == 1 else str(run.folder.path))
            for run in group
        ]
        for group in groups
    ]
    yardsticks = [
        *dict.fromkeys(
            member.yardstick for group in members for member in group if member.yardstick
        )
    ]
    rankings = tuple(_rank(yardstick, members) for yardstick in yardsticks)
    differing = _differing([_conditions(group[0]) for group in groups])
    compared = tuple(_group(group, differing, yardsticks) for group in members)
    notes = tuple(_notes(compared, members, yardsticks))
    return Comparison(SCHEMA, compared, rankings, notes)


def spread_of(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation; None without values."""
    if not values:
        return None
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, tuple(values))


def _conditions(run: RunFacts) -> dict[str, str]:
    """The keys of the configuration, and the facts of run.json, that affect a training."""
    start = run.info.get("from")
    keys = {
        key: in_yaml(value)
        for key, value in flatten(run.config.to_mapping()).items()
        if key not in NOT_COMPARED and not key.startswith("output.")
    }
    facts = {
        "training images (SHA-256)": (training_images(run) or "not recorded")[:12],
        "started from": start.get("source") if isinstance(start, dict) else "random weights",
        "device": run.session.get("device_name", "not recorded"),
        "processes": run.session.get("processes", 1),
    }
    return keys | {key: str(value)[:MAX_SHOWN] for key, value in facts.items()}


def _differing(conditions: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for one in conditions for key in one)
    return [key for key in keys if len({one.get(key) for one in conditions}) > 1]


def _group(
    members: Sequence[ScoredRun], differing: Sequence[str], yardsticks: Sequence[Yardstick]
) -> Group:
    facts = [member.facts for member in members]
    conditions = _conditions(facts[0])
    return Group(
        label=_label(members),
        runs=tuple(
            ComparedRun(
                member.label,
                str(member.facts.folder.path),
                member.facts.config.training.seed,
                member.facts.state,
                member.facts.steps,
                member.facts.epoch,
                yardsticks.index(member.yardstick) if member.yardstick else None,
            )
            for member in members
        ),
        differences={key: conditions.get(key, "") for key in differing},
        seconds=spread_of([run.seconds for run in facts if run.seconds]),
        images_per_second=spread_of(
            [run.images_per_second for run in facts if run.images_per_second]
        ),
    )


def _label(members: Sequence[ScoredRun]) -> str:
    first = members[0].label
    return first if len(members) == 1 else f"{first} ({len(members)} runs)"


def _rank(yardstick: Yardstick, groups: Sequence[Sequence[ScoredRun]]) -> Ranking:
    alike = [[member for member in group if member.yardstick == yardstick] for group in groups]
    scores = {
        name: score for group in alike for member in group for name, score in member.scores.items()
    }
    records = [[member.evaluation[0] for member in group if member.evaluation] for group in alike]
    return Ranking(
        yardstick,
        next(record.judge for group in records for record in group),
        tuple(_scored(found, len(group)) for found, group in zip(records, groups, strict=True)),
        tuple(
            _ranked(name, scores[name], alike)
            for name in sorted(scores, key=lambda name: scores[name].place)
        ),
    )


def _scored(found: Sequence[Record], count: int) -> str:
    """The steps of the samples, and how many of the runs of a group they are from if not all."""
    if not found:
        return ""
    steps = dict.fromkeys(record.samples.step for record in found)
    text = ", ".join("unknown" if step is None else f"{step:,}" for step in steps)
    return text if len(found) == count else f"{text} ({len(found)} of {count} runs)"


def _ranked(name: str, score: Score, groups: Sequence[Sequence[ScoredRun]]) -> RankedScore:
    spreads = [
        spread_of([member.scores[name].number for member in group if name in member.scores])
        for group in groups
    ]
    means = {_number(score.spec, spread.mean): spread.mean for spread in spreads if spread}
    choose = {"lower": min, "higher": max}.get(score.row.better or "")
    best = choose(means, key=lambda text: means[text]) if choose and len(means) > 1 else None
    return RankedScore(
        name,
        score.row.better or "",
        score.row.meaning,
        score.real,
        tuple(
            None if spread is None else _group_score(score.spec, spread, best) for spread in spreads
        ),
    )


def _group_score(spec: str, spread: Spread, best: str | None) -> GroupScore:
    mean = _number(spec, spread.mean)
    deviation = "" if spread.deviation is None else f" ± {_number(spec, spread.deviation)}"
    return GroupScore(spread, f"{mean}{deviation}", mean == best)


def _number(spec: str, number: float) -> str:
    whole = spec == WHOLE and number == int(number)
    return format(int(number) if whole else number, ",.1f" if spec == WHOLE and not whole else spec)


def _notes(
    groups: Sequence[Group],
    members: Sequence[Sequence[ScoredRun]],
    yardsticks: Sequence[Yardstick],
) -> Iterator[str]:
    if len(yardsticks) > 1:
        unlike = [
            words
            for field, words in UNLIKE.items()
            if len({getattr(yardstick, field) for yardstick in yardsticks}) > 1
        ]
        yield (
            f"The runs were scored with different {' and '.join(unlike)}. Such scores say nothing "
            "about each other, so they are shown apart and not ranked together."
        )
    for group, of_group in zip(groups, members, strict=True):
        seeds = [run.seed for run in group.runs]
        if len({run.ranking for run in group.runs if run.ranking is not None}) > 1:
            yield (
                f"The runs of {group.label} were not all scored alike: each mean is over those "
                "that were."
            )
        if len(set(seeds)) < len(seeds):
            yield (
                f"Some runs of {group.label} have the same seed, so their standard deviation is "
                "not that between seeds."
            )
        for member in of_group:
            if member.facts.evaluation is None:
                path = quote(str(member.facts.folder.path))
                yield f"{member.label} has not been scored; mnistgan evaluate {path} does it."
            elif member.yardstick is None:
                yield (
                    f"The scores of {member.label} are not shown: the last line of "
                    f"{member.facts.folder.evaluations} is damaged."
                )
