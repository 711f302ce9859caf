"""Write a report as one HTML page, without any link to another file."""

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mnistgan import __version__
from mnistgan.curves import OUTPUT_LABELS, thinned
from mnistgan.errors import DataError
from mnistgan.evaluation.scores import ShownScore, shown_scores
from mnistgan.pictures import read_png
from mnistgan.report.charts import Chart, Series, draw_chart
from mnistgan.report.facts import RunFacts, shown_epoch
from mnistgan.report.playable import Playable
from mnistgan.runs.metrics import MetricsRecord

MAX_GRIDS = 32
"""Maximum number of grids in a page: 0.5 MB"""
MAX_LINES = 2_000
"""Maximum number of lines of metrics whose values a page has: 0.2 MB"""
MAX_PERIODS = 100
"""Maximum number of periods of the same diagnosis in a page: the latest ones"""
MAX_SIDE = 16_383
"""Maximum width and height of a WebP picture"""
QUALITY = 80
"""Quality of the grids as WebP, which takes half the room of PNG"""
SCRIPTS = ("network.js", "generator.js", "training.js", "main.js")
NAMES = {
    "epoch": "epoch",
    "step": "step",
    "d_loss": "D loss",
    "g_loss": "G loss",
    "d_real": "D(x)",
    "d_fake": "D(G(z))",
    "images_per_second": "images/s",
    "frechet_distance": "Fréchet",
}
"""Quantities of a line of metrics, and their names in the page"""


def run_page(run: RunFacts, model: Playable | None, no_model: str) -> str:
    """The page of one run. no_model: why there is no `model`.

    Raises RunError or DataError if a file of the run is damaged.
    """
    grids = run.folder.sample_grids()
    shown = [grids[index] for index in thinned(len(grids), MAX_GRIDS)]
    lines = [run.records[index] for index in thinned(len(run.records), MAX_LINES)]
    scores, no_scores = _scores(run)
    data = {
        "model": model and model.facts,
        "names": NAMES,
        "lines": {key: [getattr(line, key) for line in lines] for key in NAMES},
        "grids": [
            {"epoch": epoch, "label": shown_epoch(epoch), "src": _picture_source(path)}
            for epoch, path in shown
        ],
    }
    return render(
        "run.html",
        SCRIPTS,
        data,
        run=run,
        model=model and model.facts,
        weights=model and model.weights,
        no_model=no_model,
        charts=list(_charts(run)),
        grids=data["grids"],
        grids_left_out=len(grids) - len(shown),
        lines_left_out=len(run.records) - len(lines),
        periods=run.health[-MAX_PERIODS:],
        periods_left_out=max(0, len(run.health) - MAX_PERIODS),
        scores=scores,
        no_scores=no_scores,
        scored_how=_scored_how(run),
        nearest=_picture_source(run.folder.nearest) if run.folder.nearest.is_file() else None,
        changed=sum(setting.preset is not None for setting in run.settings),
    )


def render(template: str, scripts: Iterable[str], data: dict[str, Any], **values: Any) -> str:
    """A page that contains its style, its scripts and the JSON values `data`."""
    environment = Environment(
        loader=PackageLoader("mnistgan.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["epoch"] = shown_epoch
    environment.policies["json.dumps_kwargs"] = {}  # keeps the order of the keys
    style = _package_text("style.css")
    script = '"use strict";\n' + "\n".join(map(_package_text, scripts))
    return environment.get_template(template).render(
        values,
        version=__version__,
        data=data,
        style=Markup(style),
        style_hash=_csp_hash(style),
        script=Markup(script),
        script_hash=_csp_hash(script),
    )


def _package_text(name: str) -> str:
    return files("mnistgan.report").joinpath(name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """The hash by which a Content-Security-Policy allows an inline style or script."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _charts(run: RunFacts) -> Iterable[Chart]:
    records = run.records
    if not records:
        return
    yield draw_chart(
        f"Losses ({run.config.loss.adversarial})",
        [
            _series("discriminator", 0, records, "d_loss"),
            _series("generator", 1, records, "g_loss"),
        ],
    )
    yield draw_chart(
        OUTPUT_LABELS.get(str(run.info.get("d_output")), OUTPUT_LABELS[None]),
        [
            _series("D(x), real images", 0, records, "d_real"),
            _series("D(G(z)), generated images", 1, records, "d_fake"),
        ],
    )
    if run.scored:
        judge = run.scored[-1].judge_sha256
        latest = [record for record in run.scored if record.judge_sha256 == judge]
        yield draw_chart(
            "Fréchet distance to training images (few samples)",
            [_series("Fréchet distance", 2, latest, "frechet_distance", is_sparse=True)],
            log=True,
        )


def _series(
    label: str,
    color: int,
    records: Sequence[MetricsRecord],
    quantity: str,
    *,
    is_sparse: bool = False,
) -> Series:
    values = [float(getattr(record, quantity)) for record in records]
    return Series(label, color, [record.epoch for record in records], values, is_sparse=is_sparse)


def _scores(run: RunFacts) -> tuple[list[ShownScore], str]:
    """The rows of the latest evaluation, or none and the reason."""
    found = run.evaluation
    if found is None:
        return [], run.verdict
    real = found.get("real")
    try:
        return list(shown_scores(found, real if isinstance(real, dict) else None)), ""
    except ValueError as error:
        return [], f"The scores cannot be shown: {run.folder.evaluations} {error}."


def _scored_how(run: RunFacts) -> str:
    """How the latest evaluation was made, in one sentence."""
    found = run.evaluation
    if found is None:
        return ""
    samples, judge = found.get("samples"), str(found.get("judge_sha256"))[:12]
    step = samples.get("step") if isinstance(samples, dict) else None
    return (
        f"{_grouped(found.get('n'))} samples of step {_grouped(step)}, seed {found.get('seed')}; "
        f"judge {found.get('judge')}, {judge}; {str(found.get('created'))[:10]}."
    )


def _grouped(value: object) -> str:
    """A whole number with separators of thousands; other values, of a damaged file, as they are."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _picture_source(path: Path) -> str:
    """A picture of a run as a data URI. Raises DataError if it is damaged or too large."""
    picture = read_png(path)
    if max(picture.size) > MAX_SIDE:
        raise DataError(
            f"{path}: is too large for a page; expected at most {MAX_SIDE:,} pixels in each "
            f"direction, got {picture.width:,} x {picture.height:,}"
        )
    return embedded(picture, quality=QUALITY)


def embedded(picture: Image.Image, **options: Any) -> str:
    """A picture as a data URI. options: those of Pillow for WebP"""
    contents = io.BytesIO()
    picture.convert("L" if picture.mode == "L" else "RGB").save(contents, format="webp", **options)
    return f"data:image/webp;base64,{base64.b64encode(contents.getvalue()).decode()}"
