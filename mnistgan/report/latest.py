"""The generator that a report shows: that of the latest checkpoint."""

from mnistgan.errors import MnistganError
from mnistgan.report.facts import RunFacts
from mnistgan.sampling import OpenedGenerator, open_generator


def latest_generator(run: RunFacts) -> OpenedGenerator | str:
    """The generator of the latest checkpoint, or a sentence that says why it cannot be used."""
    if not run.folder.latest.is_file():
        return "The run has no checkpoint yet, so there is no generator."
    try:
        return open_generator(run.folder.latest, "cpu")
    except MnistganError as error:
        return f"The generator cannot be used. {error}"
