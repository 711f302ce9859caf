"""Open a session in every process of a training, and check that all train the same run."""

import hashlib
from collections.abc import Callable

from mnistgan.errors import ConfigError, MnistganError, ReportedElsewhereError
from mnistgan.runs.session import Session
from mnistgan.training.workers import Workers


def open_together(workers: Workers, open_session: Callable[[], Session]) -> Session:
    """Open a session in every process. Only one process raises an error that several have.

    Raises what `open_session` raises, ReportedElsewhereError if another process reports a problem,
    and ConfigError if the processes would train different runs.
    """
    if workers.count == 1:
        return open_session()
    session, error = None, None
    try:
        session = open_session()
    except MnistganError as raised:
        error = raised
    facts = workers.gather((error and error.exit_code, session and _facts(session)))
    failed = {rank: code for rank, (code, _) in enumerate(facts) if code}
    if error is not None and workers.rank == min(failed):
        raise error
    if failed:
        raise ReportedElsewhereError(failed[min(failed)])
    first = facts[0][1]
    for rank, (_, found) in enumerate(facts):
        differing = [name for name in first if found[name] != first[name]]
        if differing:
            if workers.rank > 0:
                raise ReportedElsewhereError
            raise ConfigError(
                f"process {rank}: differs from process 0 in {' and '.join(differing)}; start all "
                "processes with the same command and files"
            )
    assert session is not None
    return session


def _facts(session: Session) -> dict[str, str]:
    """What must be equal in all processes, by its name in a message."""
    return {
        "its run folder": str(session.folder),
        "its configuration": hashlib.sha256(session.config.to_yaml().encode()).hexdigest(),
        "its images": "" if session.dataset.is_placeholder else session.dataset.sha256,
        "its step": str(session.trainer.step),
        "its weights": session.trainer.weights_sha256(),
    }
