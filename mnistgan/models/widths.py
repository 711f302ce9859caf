"""`model.width` applied."""


def scaled(sizes: tuple[int, ...], width: float) -> list[int]:
    """Each size times `width`, rounded, at least 1."""
    return [max(1, round(size * width)) for size in sizes]
