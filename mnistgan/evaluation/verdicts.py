"""The scores of an evaluation in one sentence."""

from collections.abc import Callable, Mapping

from mnistgan.evaluation.scores import Scorer, Scores


def verdict(scorer: Scorer, scores: Scores, real: Scores | None) -> str:
    """What the scores say; `real` are those of real digits, which only modes go without."""
    return VERDICTS[scorer](scores, real or {})


def _of_features(scores: Scores, real: Scores) -> str:
    histogram = scores["class_histogram"]
    total = sum(histogram)
    expected = real["class_histogram"]
    present = sum(count > 0 for count in histogram)
    parts = [f"{present} of {len(histogram)} digits"]
    for digit, (found, usual) in enumerate(zip(histogram, expected, strict=True)):
        if 0 < found / total < 0.5 * usual / sum(expected):
            parts.append(f"{digit} is rare ({100 * found / total:.1f} %)")
    if scores["missing_classes"]:
        parts.append(f"missing: {', '.join(map(str, scores['missing_classes']))}")
    parts.append(f"{100 * scores['unreadable']:.0f} % unreadable")
    near = scores["nearest_training_distance"]
    if near is not None:
        # Twice as many as chance allows, and three standard deviations of a count.
        allowed = 2 * near["near_copies_real"] + 3 * near["near_copies_real"] ** 0.5
        copies = f"{near['near_copies']:,} copies of training digits found"
        parts.append(
            copies if near["near_copies"] > allowed else "no copies of training digits found"
        )
    return "; ".join(parts)


def _of_modes(scores: Scores, real: Scores) -> str:
    return f"{scores['modes']:,} of 1,000 modes; KL to uniform {scores['kl_uniform']:.3f}"


VERDICTS: Mapping[Scorer, Callable[[Scores, Scores], str]] = {
    "features": _of_features,
    "modes": _of_modes,
}
