"""Summarize the scores of an evaluation in one sentence."""

from collections.abc import Callable, Mapping, Sequence

from mnistgan.evaluation.scores import Scorer, Scores


def verdict(scorer: Scorer, scores: Scores, real: Scores | None, class_names: Sequence[str]) -> str:
    """Summarize the scores. `real` holds those of real digits, or is None for modes."""
    return VERDICTS[scorer](scores, real or {}, class_names)


def noun(class_names: Sequence[str]) -> str:
    """The word for the classes: "digits" if their names are their numbers, else "classes"."""
    plain = all(name == str(label) for label, name in enumerate(class_names))
    return "digits" if plain else "classes"


def _of_features(scores: Scores, real: Scores, class_names: Sequence[str]) -> str:
    histogram = scores["class_histogram"]
    total = sum(histogram)
    expected = real["class_histogram"]
    present = sum(count > 0 for count in histogram)
    parts = [f"{present} of {len(histogram)} {noun(class_names)}"]
    for name, found, usual in zip(class_names, histogram, expected, strict=True):
        if 0 < found / total < 0.5 * usual / sum(expected):
            parts.append(f"{name} is rare ({100 * found / total:.1f} %)")
    if scores["missing_classes"]:
        missing = [class_names[label] for label in scores["missing_classes"]]
        parts.append(f"missing: {', '.join(missing)}")
    parts.append(f"{100 * scores['unreadable']:.0f} % unreadable")
    near = scores["nearest_training_distance"]
    if near is not None:
        # Twice the expected number, plus three standard deviations of a Poisson count.
        allowed = 2 * near["near_copies_real"] + 3 * near["near_copies_real"] ** 0.5
        copies = f"{near['near_copies']:,} copies of training digits found"
        parts.append(
            copies if near["near_copies"] > allowed else "no copies of training digits found"
        )
    return "; ".join(parts)


def _of_modes(scores: Scores, real: Scores, class_names: Sequence[str]) -> str:
    return f"{scores['modes']:,} of 1,000 modes; KL to uniform {scores['kl_uniform']:.3f}"


VERDICTS: Mapping[Scorer, Callable[[Scores, Scores, Sequence[str]], str]] = {
    "features": _of_features,
    "modes": _of_modes,
}
