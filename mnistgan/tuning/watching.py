"""Read a study from its storage, for a table."""

from datetime import datetime

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnistgan.tuning.overview import Confirmed, StudyOverview, TrialRow, best_of
from mnistgan.tuning.slots import FAILED_TRIAL, latest_attempts
from mnistgan.tuning.storage import SCORES, Storage, stored_study
from mnistgan.tuning.work import (
    REASON,
    SEEDS,
    TRIAL,
    as_text,
    best_complete,
    chosen_trials,
    score_of,
)

STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
KILLED = "its process was killed"
"""The reason of a failed trial that could not note one"""


def overview(storage: Storage, name: str, slots: int | None) -> StudyOverview | None:
    """The trials of a study, or None if the study does not exist."""
    study = stored_study(storage, name)
    if study is None:
        return None
    repeats = stored_study(storage, f"{name} confirm")
    rows = tuple(map(_row, latest_attempts(study.get_trials(deepcopy=False))))
    again = [] if repeats is None else latest_attempts(repeats.get_trials(deepcopy=False))
    confirmed = () if repeats is None else _confirmed(study, repeats, again)
    return StudyOverview(
        name=name,
        slots=slots,
        keys=tuple(dict.fromkeys(key for row in rows for key in row.values)),
        rows=rows,
        repeats=tuple(map(_row, again)),
        confirmed=confirmed,
        best=best_of(rows, confirmed),
    )


def _confirmed(study: Study, repeats: Study, again: list[FrozenTrial]) -> tuple[Confirmed, ...]:
    scores = {trial.number: score_of(trial) for trial in best_complete(study)}
    return tuple(
        Confirmed(
            number,
            scores[number],
            tuple(
                score_of(trial)
                for trial in again
                if trial.user_attrs.get(TRIAL) == number and trial.state == TrialState.COMPLETE
            ),
            SEEDS,
        )
        for number in chosen_trials(repeats)
    )


def _row(trial: FrozenTrial) -> TrialRow:
    steps, state = trial.intermediate_values, STATES[trial.state]
    last = trial.last_step
    return TrialRow(
        number=trial.number,
        state=state,
        score=trial.value if trial.value is not None else steps.get(last) if last else None,
        share=1.0 if trial.state == TrialState.COMPLETE else (last or 0) / SCORES,
        values={key: as_text(value) for key, value in trial.params.items()},
        remark=_remark(trial),
        seconds=_seconds(trial),
    )


def _remark(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return trial.user_attrs.get(REASON) or KILLED
    first = trial.system_attrs.get(FAILED_TRIAL)
    return "" if first is None else f"repeats trial {first}"


def _seconds(trial: FrozenTrial) -> float:
    start, end = trial.datetime_start, trial.datetime_complete
    if start is None:
        return 0.0
    now = datetime.now(start.tzinfo) if end is None else end
    return max(0.0, (now - start).total_seconds())
