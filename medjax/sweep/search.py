"""A search for the best setting by Optuna, on validation cases; test cases are those of the chosen setting alone."""

import argparse
import contextlib
import json
import math
import pathlib
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from medjax import atomic_files, cli, compare, restore
from medjax.core.signals import STOPPED
from medjax.errors import InputError
from medjax.sweep import settings, spaces
from medjax.sweep.pool import Pool
from medjax.tasks.family import of_config

STORAGE, STUDY = 'search.db', 'search'
UNPRUNED = 5  # trials that are complete before others are pruned
ONE_RUN = 10**9  # steps that the runs of a trial are apart in its history of values


class Search:
    """The trials of a search, in a folder with their history.

    A trial is a setting; its runs are those of all seeds and folds, one after the other, and `jobs` trials run at a
    time. Its value is the mean over runs of the best validation metric. A trial is pruned when the mean so far is worse
    than the median of the other trials at that step.

    Args:
      given: the arguments of the search, see `command.main`.
      workdir: its folder.
      pool: trains the runs.

    Raises:
      InputError: Optuna is missing; a config without validation; a metric or a key that it does not have.
    """

    def __init__(self, given: argparse.Namespace, workdir: pathlib.Path, pool: Pool):
        self._given, self._workdir, self._pool = given, workdir, pool
        self._optuna, self._lock = spaces.import_optuna(), threading.Lock()
        self._distributions = spaces.read(given.search)
        for values in spaces.ends(self._distributions):
            settings.check(self._runs(-1, values)[:1])
        config = cli.read_config(self._runs(-1, spaces.ends(self._distributions)[0])[0].arguments)
        self.metric = given.metric or (config.get('checkpoint') or {}).get('best', '')
        found = of_config(config).metrics.find(self.metric)
        if found is None or not config['evaluate'].get('every'):
            raise InputError(f'--search: metric {self.metric!r}, config.evaluate.every: '
                             f'{config["evaluate"].get("every", 0)}; expected --metric=NAME or config.checkpoint.best, '
                             'and validations while training')
        self._rank = found.rank

    def run(self) -> None:
        """Runs the trials that are left, those first that a stopped search has left unfinished."""
        self.study = self._open()
        states = self._optuna.trial.TrialState
        unfinished = self.study.get_trials(deepcopy=False, states=(states.RUNNING,))
        count = len(self.study.get_trials(deepcopy=False))
        cli.say(f'{self._given.trials} trials, {count - len(unfinished)} of them finished')
        left = [*unfinished, *[None] * max(0, self._given.trials - count)]
        self._pool.each(self._trial, left)

    def _open(self) -> Any:
        """The study in the folder's SQLite file."""
        url = f'sqlite:///{self._workdir / STORAGE}'
        # A restarted search draws other values than before, since the seed grows with the trials.
        samplers, pruners = self._optuna.samplers, self._optuna.pruners
        study = self._optuna.create_study(study_name=STUDY, storage=url, direction='maximize', load_if_exists=True)
        study.sampler = samplers.TPESampler(seed=len(study.get_trials(deepcopy=False)), constant_liar=True)
        study.pruner = pruners.MedianPruner(n_startup_trials=UNPRUNED)
        return study

    def _runs(self, number: int, values: Sequence[str]) -> list[settings.Run]:
        """The runs of a trial."""
        return [settings.training(self._given, self._workdir, f'trials/{number:04d}', values, seed, fold, nested=False)
                for seed in range(self._given.seeds) for fold in range(self._given.folds or 1)]

    def _trial(self, unfinished: Any) -> None:
        """Runs a new trial, or one that a stopped search has left."""
        if self._pool.code:
            return
        with self._lock:
            if unfinished is None:
                trial = self.study.ask(self._distributions)
                reported: set[int] = set()
            else:
                trial = self._optuna.trial.Trial(self.study, unfinished._trial_id)  # no other way to go on with it
                reported = set(unfinished.intermediate_values)
        states, best = self._optuna.trial.TrialState, []
        for place, run in enumerate(self._runs(trial.number, spaces.arguments(trial.params))):
            pruned = threading.Event()

            def unwanted(place: int = place, run: settings.Run = run, pruned: threading.Event = pruned) -> bool:
                """Reports new validations; whether the trial is pruned."""
                values = self._validations(run.folder)
                for step in sorted(values):
                    so_far = max(value for other, value in values.items() if other <= step)
                    if place * ONE_RUN + step not in reported:
                        reported.add(place * ONE_RUN + step)
                        with self._lock:
                            trial.report(statistics.fmean([*best, so_far]), place * ONE_RUN + step)
                            if trial.should_prune():
                                pruned.set()
                return pruned.is_set()

            code = self._pool.run(run, f'trial {trial.number}', ['--noevaluate'], unwanted)
            if code is None or (code == STOPPED and not pruned.is_set()):
                self._pool.code = self._pool.code or STOPPED
                return  # it goes on when the search does
            if unwanted() and code in (0, STOPPED):
                self._end(trial, states.PRUNED)
                cli.say(f'trial {trial.number}: pruned at {self.metric} {self._shown(best, run)}')
                return
            values = self._validations(run.folder)
            if code or not values:
                self._failed(trial, run, code)
                return
            best.append(max(values.values()))
        self._end(trial, states.COMPLETE, statistics.fmean(best))
        cli.say(f'trial {trial.number}: {self.metric} {self._shown(best)}   '
                + '  '.join(f'{key}={value}' for key, value in trial.params.items()))

    def _end(self, trial: Any, state: Any, value: float | None = None) -> None:
        with self._lock:
            self.study.tell(trial, value, state=state)

    def _failed(self, trial: Any, run: settings.Run, code: int) -> None:
        """Notes a trial whose training failed; if that is all that trainings do, the search stops."""
        states = self._optuna.trial.TrialState
        self._end(trial, states.FAIL)
        if not self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)):
            self._pool.fail(run, code)
        else:
            last = (run.folder / 'log.txt').read_text().splitlines()[-1:]
            cli.say(f'trial {trial.number}: failed, exit code {code}: {"".join(last)}')

    def _validations(self, folder: pathlib.Path) -> dict[int, float]:
        """The rank of the metric at each validation of a run so far, higher is better."""
        out = {}
        for line in _lines(folder / 'metrics.jsonl'):
            with contextlib.suppress(ValueError):  # a line that is being written
                entry = json.loads(line)
                value = entry.get(f'val/{self.metric}')
                if value is not None and math.isfinite(value):
                    out[entry['step']] = self._rank(value)
        return out

    def _shown(self, ranks: Sequence[float], run: settings.Run | None = None) -> str:
        more = list(self._validations(run.folder).values())[-1:] if run else []
        return f'{self._plain(statistics.fmean([*ranks, *more])):.4f}' if [*ranks, *more] else ''

    def _plain(self, rank: float | None) -> float | None:
        """The metric of a rank; of metrics that should be 0 its absolute value."""
        return None if rank is None or not math.isfinite(rank) else rank if self._rank(1.0) > 0 else -rank

    def history(self) -> list[dict[str, Any]]:
        """All trials in their order: number, state, value, parameters, and whether it is the chosen one."""
        states = self._optuna.trial.TrialState
        chosen = self.chosen()
        out = []
        for trial in self.study.get_trials(deepcopy=False):
            last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
            value = trial.value if trial.state == states.COMPLETE else last
            out.append({'number': trial.number, 'state': trial.state.name.lower(), 'value': self._plain(value),
                        'parameters': dict(trial.params), 'chosen': trial.number == chosen.number})
        return out

    def chosen(self) -> Any:
        """The trial with the best value.

        Raises:
          InputError: no trial is complete.
        """
        complete = self.study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.COMPLETE,))
        if not complete:
            raise InputError(f'--trials={self._given.trials}: no trial is complete; expected at least one that is not '
                             'pruned and does not fail')
        return max(complete, key=lambda trial: trial.value)

    def finish(self) -> pathlib.Path | None:
        """Evaluates the chosen setting's runs on test cases, and writes the history into their joint results.

        Returns:
          The folder of the results; None where a run did not finish.
        """
        trial = self.chosen()
        members = self._runs(trial.number, spaces.arguments(trial.params))
        self._pool.train(members)
        if self._pool.code:
            return None
        folder = members[0].folder
        if len(members) > 1:
            folder = self._workdir / 'chosen'
            compare.merge([str(run.folder) for run in members], folder)
        content = self._content(trial)
        results = atomic_files.read_json(folder / 'results.json')
        notice = results.get('search', {}).get('text', '')
        results['notice'] = f'{content["text"]} {results.get("notice", "").removeprefix(notice).strip()}'.strip()
        atomic_files.write_json(folder / 'results.json', {**results, 'search': content})
        restore.write_report(folder)
        return folder

    def _content(self, trial: Any) -> dict[str, Any]:
        """What results say of the search."""
        history = self.history()
        states = [item['state'] for item in history]
        tried = len(history) - states.count('fail')
        over = f', the mean over {self._given.folds} validation folds' if self._given.folds else ''
        return {'metric': self.metric, 'tried': tried, 'pruned': states.count('pruned'), 'failed': states.count('fail'),
                'chosen': {'trial': trial.number, 'parameters': dict(trial.params), 'value': self._plain(trial.value)},
                'trials': history,
                'text': f'This setting was chosen among {tried} that were tried, by {self.metric} on validation cases'
                        f'{over}. The test cases were predicted by the chosen setting alone.'}


def _lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def table(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The history of a search as rows, with a column for each parameter."""
    return [{**{key: value for key, value in trial.items() if key != 'parameters'}, **trial['parameters']}
            for trial in history]
