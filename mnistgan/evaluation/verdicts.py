"""Summarize the scores of an evaluation in plain words."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mnistgan.evaluation.published import published
from mnistgan.evaluation.scores import Scorer, Scores

CLOSENESS: tuple[tuple[float, str], ...] = (
    # The six sets of 10,000 training digits score 0.12 to 0.23, with a standard deviation of 0.04.
    (0.04, "like real digits"),
    # `best` is 0.06 above the real digits, `fast` and `best-unconditional` are 0.17 above: 1 to 2 %
    # unreadable; of real digits, 1 %.
    (0.3, "close to real"),
    # `best-unconditional` without clusters is 0.52 above: 6 % unreadable.
    (3, "recognizable"),
    # `mlp` after 20 epochs and the objectives after 5 minutes are 3 to 15 above: 10 to 27 %
    # unreadable.
    (20, "rough"),
    # `wgan-gp-paper` and `wgan-paper` after 5 minutes are 38 to 450 above: 36 to 100 % unreadable.
    (math.inf, "far from real"),
)
"""Words by the largest difference of the Fréchet distance from that of as many real digits"""
MOST_NAMED = 10
"""Maximum number of rare classes that a verdict names"""
ENOUGH_FOR_A_WORD = 5_000
"""With 1,000 samples, one generator had distances of 0.43 and 0.82 with two seeds"""


@dataclass(frozen=True)
class Measured:
    """The scores to summarize, and what they are compared with."""

    scores: Scores
    real: Scores
    """Those of as many real images that are known"""
    n: int
    """Number of samples"""
    class_names: tuple[str, ...]
    class_shares: Sequence[float]
    """Share of each class among real images"""
    judge_sha256: str


def verdict(scorer: Scorer, measured: Measured) -> tuple[str, ...]:
    """Summarize the scores in one or more lines, the most important one first."""
    return VERDICTS[scorer](measured)


def verdict_without_judge(
    scores: Scores, class_names: Sequence[str], reason: str
) -> tuple[str, ...]:
    """Say which scores remain and why, and whether there are copies."""
    return (
        f"only distances to the training {image_noun(class_names)} are known; there is no judge "
        f"for the other scores, because {reason}",
        _copies(scores, class_names),
    )


def noun(class_names: Sequence[str]) -> str:
    """The word for the classes: "digits" if their names are their numbers, else "classes"."""
    return "digits" if _are_numbers(class_names) else "classes"


def image_noun(class_names: Sequence[str]) -> str:
    """The word for the images: "digits" if the names of the classes are their numbers."""
    return "digits" if _are_numbers(class_names) else "images"


def _are_numbers(class_names: Sequence[str]) -> bool:
    return all(name == str(label) for label, name in enumerate(class_names))


def _of_features(measured: Measured) -> tuple[str, ...]:
    return _closeness(measured), "; ".join(_contents(measured))


def _closeness(measured: Measured) -> str:
    """How far the samples are from real ones, in one word and one comparison.

    The word needs the judge that CLOSENESS was chosen for. The comparison needs results with the
    same judge and number of samples.
    """
    results = published()
    distance = measured.scores["frechet_distance"]
    of_real = measured.real.get("frechet_distance")
    same_judge = measured.judge_sha256 == results.judge_sha256
    comparable = same_judge and measured.n == results.n
    text = f"Fréchet distance {_short(distance)}"
    if same_judge and of_real is not None and measured.n >= ENOUGH_FOR_A_WORD:
        word = next(word for limit, word in CLOSENESS if distance - of_real <= limit)
        text = f"{word}: {text}"
    others = [
        f"{result.label} {_short(result.frechet_distance)}"
        for result in results.results
        if comparable and result.label is not None
    ]
    if of_real is not None:
        as_many = "" if comparable else "as many "
        others.append(f"{as_many}real {image_noun(measured.class_names)} {_short(of_real)}")
    return f"{text}; for comparison: {', '.join(others)}" if others else text


def _short(distance: float) -> str:
    """A distance with two decimals, or fewer if it is large."""
    return f"{distance:.2f}" if distance < 10 else f"{distance:,.{int(distance < 100)}f}"


def _contents(measured: Measured) -> Iterator[str]:
    """Missing and rare classes, unreadable samples and copies."""
    scores, class_names = measured.scores, measured.class_names
    histogram = scores["class_histogram"]
    total = sum(histogram)
    present = sum(count > 0 for count in histogram)
    yield f"{present} of {len(histogram)} {noun(class_names)}"
    rare = [
        f"{name} is rare ({100 * found / total:.1f} %)"
        for name, found, usual in zip(class_names, histogram, measured.class_shares, strict=True)
        if 0 < found / total < 0.5 * usual
    ]
    yield from rare[:MOST_NAMED]
    if len(rare) > MOST_NAMED:
        yield f"{len(rare) - MOST_NAMED} more are rare"
    if scores["missing_classes"]:
        missing = [class_names[label] for label in scores["missing_classes"]]
        yield f"missing: {', '.join(missing)}"
    yield f"{100 * scores['unreadable']:.0f} % unreadable"
    if scores["nearest_training_distance"] is not None:
        yield _copies(scores, class_names)


def _copies(scores: Scores, class_names: Sequence[str]) -> str:
    near = scores["nearest_training_distance"]
    # Twice the expected number, plus three standard deviations of a Poisson count.
    allowed = 2 * near["near_copies_real"] + 3 * near["near_copies_real"] ** 0.5
    copies = f"{near['near_copies']:,}" if near["near_copies"] > allowed else "no"
    return f"{copies} copies of training {image_noun(class_names)} found"


def _of_modes(measured: Measured) -> tuple[str, ...]:
    scores = measured.scores
    return (f"{scores['modes']:,} of 1,000 modes; KL to uniform {scores['kl_uniform']:.3f}",)


VERDICTS: Mapping[Scorer, Callable[[Measured], tuple[str, ...]]] = {
    "features": _of_features,
    "modes": _of_modes,
}
