"""What one process does for a study: search, then repeat the best trials."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from optuna import Trial, TrialPruned
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnistgan.errors import OutputError, RunError
from mnistgan.runs.metrics import MetricsRecord
from mnistgan.tuning.slots import SURPLUS, is_surplus, latest_attempts, slot_of, taken
from mnistgan.tuning.space import Space, default_identity
from mnistgan.tuning.storage import Storage, join_study, naming_database, requeue
from mnistgan.tuning.trial import Setting, TrialFailedError, TrialStoppedError, run_trial

SEEDS = 3
"""Number of runs that confirm a trial"""
WAIT_SECONDS = 1.0
"""How often to look whether the trials of other processes have ended"""
TRIAL, SEED, REASON, STOPPED = "trial", "seed", "reason", "stopped"
"""User attributes of trials"""
CHOSEN, JUDGE = "chosen", "judge"
"""User attributes of studies"""


@dataclass(frozen=True)
class Target:
    """How much is to be done for a study."""

    trials: int
    confirm: int
    """Number of trials to repeat with other seeds"""


@dataclass(frozen=True)
class Worker:
    """One process that takes part in a study."""

    storage: Storage
    name: str
    space: Space
    identity: dict[str, str]
    setting: Setting
    target: Target
    stop: Callable[[], str | None]
    """Returns the reason to stop, or None; called after each step"""
    show: Callable[[], object]
    """Called after each step, and while this process waits for others"""

    def run(self) -> None:
        """Run trials until the study is complete, or there is a reason to stop.

        Raises RunError if the study has another space or the database does not answer, OutputError
        if a file cannot be written, and the errors of `new_run` that all trials would have.
        """
        try:
            with naming_database(self.storage.shown):
                search = self.join()
                self._fill(search, self.target.trials, self._search)
                if self.target.confirm and self.stop() is None:
                    self._confirm(search)
        except OSError as error:
            raise OutputError(
                f"{error.filename or self.setting.folder}: {error.strerror}: the study stopped; "
                "the trials that had ended are saved. The same command continues the study"
            ) from None

    def join(self) -> Study:
        """Open or create the study. Raises RunError if it searches another space."""
        return join_study(
            self.storage,
            self.name,
            self.identity,
            defaults=default_identity(),
            prunes=self.space.prunes,
        )

    def _fill(self, study: Study, slots: int, run: Callable[[Study, Trial, int], float]) -> None:
        """Run trials until all slots are filled and no trial is running anywhere."""
        while self.stop() is None:
            if self._fills_slot(study, slots, run):
                continue
            if not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                return
            self.show()
            time.sleep(WAIT_SECONDS)

    def _fills_slot(
        self, study: Study, slots: int, run: Callable[[Study, Trial, int], float]
    ) -> bool:
        """Run a trial if a slot is free. Returns whether it was."""
        with ExitStack() as held, ExitStack() as claim:
            claim.enter_context(self.storage.exclusive())
            self.storage.fail_lost(study)
            trials = study.get_trials(deepcopy=False)
            waits = any(trial.state == TrialState.WAITING for trial in trials)
            if taken(trials) >= slots and not waits:
                return False

            problems: list[Exception] = []

            def objective(trial: Trial) -> float:
                held.enter_context(self.storage.hold(study, trial.number))
                claim.close()  # from now on, other processes may claim trials
                return _in_slot(study, slots, trial, run, problems)

            try:
                study.optimize(
                    objective,
                    n_trials=1,
                    catch=(TrialFailedError,),
                    callbacks=[_requeue_stopped],
                    gc_after_trial=True,
                )
            except AssertionError as error:
                # Optuna asserts that a trial has ended, even if the storage raised an error.
                raise (error.__context__ or error) from None
        for problem in problems:
            raise problem
        return True

    def _search(self, study: Study, trial: Trial, slot: int) -> float:
        """Run a trial of the search. Its values depend only on its number and earlier trials."""
        name = run_name(trial.number)
        if (self.setting.folder / name).exists():
            raise RunError(
                f"{self.setting.folder / name}: exists, but is not of this study; choose another "
                "--study, or delete the folder"
            )
        study.sampler = TPESampler(seed=trial.number)
        words = [f"{key}={value}" for key, value in self.space.suggest(trial).items()]

        def report(number: int, record: MetricsRecord) -> bool:
            self._check_judge(study, record)
            trial.report(record.frechet_distance or 0.0, number)
            return trial.should_prune()

        return self._run(words, name, report)

    def _confirm(self, search: Study) -> None:
        """Repeat the best trials. A trial that was chosen once stays chosen."""
        repeats = confirmation(self.storage, self.name)
        best = [trial.number for trial in best_complete(search)[: self.target.confirm]]
        with self.storage.exclusive():
            chosen = list(dict.fromkeys([*chosen_trials(repeats), *best]))
            repeats.set_user_attr(CHOSEN, chosen)

        def repeat(study: Study, trial: Trial, slot: int) -> float:
            # Another process may have chosen more trials in the meantime.
            number, seed = chosen_trials(study)[slot // SEEDS], self._seed(slot)
            trial.set_user_attr(TRIAL, number)
            trial.set_user_attr(SEED, seed)
            name = run_name(number, seed)
            if (self.setting.folder / name).exists():  # of a process that was killed or stopped
                name = f"{name}-{trial.number}"
            trials = search.get_trials(deepcopy=False)
            original = next(found for found in trials if found.number == number)
            words = [*words_of(original), f"training.seed={seed}"]
            return self._run(words, name, lambda count, record: False)

        self._fill(repeats, SEEDS * len(chosen), repeat)

    def _seed(self, slot: int) -> int:
        """A seed that the search did not use."""
        return self.space.base.training.seed + 1 + slot % SEEDS

    def _run(
        self, words: Sequence[str], name: str, report: Callable[[int, MetricsRecord], bool]
    ) -> float:
        return run_trial(self.setting, words, name, stop=self.stop, show=self.show, report=report)

    def _check_judge(self, study: Study, record: MetricsRecord) -> None:
        """Raise RunError if the scores of the study come from another judge."""
        known = study.user_attrs.get(JUDGE)
        if known is None:
            study.set_user_attr(JUDGE, record.judge_sha256)
        elif known != record.judge_sha256:
            raise RunError(
                f"study {self.name}: was scored by the judge {known[:12]}, but this machine has "
                f"{(record.judge_sha256 or '')[:12]}; scores of two judges cannot be compared"
            )


def confirmation(storage: Storage, name: str) -> Study:
    """The repeated trials of a study, which are a study of their own. Created if it is missing."""
    return join_study(storage, f"{name} confirm", {}, defaults={}, prunes=False)


def chosen_trials(repeats: Study) -> list[int]:
    """Numbers of the trials that are or will be repeated."""
    return list(repeats.user_attrs.get(CHOSEN, ()))


def best_complete(study: Study) -> list[FrozenTrial]:
    """The complete trials, with the lowest score first."""
    trials = latest_attempts(study.get_trials(deepcopy=False))
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(done, key=score_of)


def score_of(trial: FrozenTrial) -> float:
    """The score of a complete trial."""
    assert trial.value is not None
    return trial.value


def words_of(trial: FrozenTrial) -> list[str]:
    """The searched keys of a trial as KEY=VALUE words."""
    return [f"{key}={as_text(value)}" for key, value in trial.params.items()]


def as_text(value: Any) -> str:
    """The value of a parameter as the text that it has in KEY=VALUE."""
    return value if isinstance(value, str) else repr(value)


def run_name(number: int, seed: int | None = None) -> str:
    """The name of the run of a trial, or of its repetition with another seed."""
    return f"trial-{number:03d}" + ("" if seed is None else f"-seed-{seed}")


def _in_slot(
    study: Study,
    slots: int,
    trial: Trial,
    run: Callable[[Study, Trial, int], float],
    problems: list[Exception],
) -> float:
    """Run a trial, unless other processes have taken all slots at the same moment.

    An error that ends the study, such as a full disk, is added to `problems`, and the trial counts
    as stopped.
    """
    trials = study.get_trials(deepcopy=False)
    if is_surplus(trial.number, trials, slots):
        trial.set_user_attr(SURPLUS, True)
        raise TrialFailedError
    trial.set_user_attr(REASON, "")  # a repeated trial has that of its first attempt
    try:
        return run(study, trial, slot_of(trial.number, trials))
    except TrialPruned:
        raise
    except TrialFailedError as error:
        failure = error
    except Exception as error:
        problems.append(error)
        failure = TrialStoppedError(error)
    trial.set_user_attr(REASON, str(failure))
    if isinstance(failure, TrialStoppedError):
        trial.set_user_attr(STOPPED, trial.number)
    raise failure


def _requeue_stopped(study: Study, trial: FrozenTrial) -> None:
    if trial.user_attrs.get(STOPPED) == trial.number:
        requeue(study, trial)
