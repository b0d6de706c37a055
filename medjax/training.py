"""Trains the experiment of a config, evaluates it and draws its report."""

import contextlib
import hashlib
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from medjax import cli

cli.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from medjax import assemble, atomic_files, outputs  # noqa: E402
from medjax.core import config as configs  # noqa: E402
from medjax.core import distributed, lock, log, loop, signals, trackers  # noqa: E402
from medjax.core.experiment import Experiment  # noqa: E402
from medjax.core.step import stream  # noqa: E402
from medjax.data import participants  # noqa: E402
from medjax.data.split_files import check_same_data, check_split, write_split  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.processes import check_processes  # noqa: E402

# Keys in which a resumed run may differ from the interrupted one: none of them changes a weight.
FREE = ('log', 'evaluate', 'checkpoint', 'parallel', 'mesh', 'keep_on_device', 'debug', 'study', 'report', 'dicom')

MODEL_CARD = 'model_card.md'
# The files that a run writes into its folder beside folders.
WRITTEN = ('augmented.npz', 'checklist.csv', 'config.json', 'environment.json', 'metrics.jsonl', participants.NAME,
           'predictions.csv', 'report.html', 'results.json', 'splits.json', lock.NAME,
           trackers.NAME, MODEL_CARD)


def train_and_evaluate(config: Mapping[str, Any], workdir: pathlib.Path, say: Callable[[str], None] = cli.say,
                       from_step: int | None = None, evaluate: bool = True) -> bool:
    """Trains, evaluates and draws the report of an experiment.

    Args:
      config: of the experiment.
      workdir: the folder for all results; training resumes from the newest whole checkpoint there.
      say: takes the lines for the console.
      from_step: the step of the checkpoint to resume from, in place of the newest; later ones are moved aside.
      evaluate: whether held-out cases are predicted after the last step, and the report is drawn.

    Returns:
      False where SIGTERM, SIGINT or SIGHUP stopped the training, which the same call resumes.

    Raises:
      InputError: an invalid config or data set; a folder that holds another experiment's run, a damaged one, or one
        that another process is training.
    """
    began = time.monotonic()
    if jax.process_count() > 1 and not distributed.several():
        raise InputError(f'{jax.process_count()} processes share this run, without --distributed; '
                         f'{distributed.EXPECTED}')
    say = distributed.only_first(say)
    experiment = assemble.experiment(config)
    workdir = workdir.resolve()
    files = {pathlib.Path(file) for case in experiment.data.source.cases for file in case.files}
    outputs.check_outputs([workdir / name for name in WRITTEN], files, f'--workdir={workdir}', marks=())
    with contextlib.ExitStack() as stack:
        check_processes(config, experiment)
        distributed.on_first(lambda: _claim(config, experiment, workdir, say, stack))
        if distributed.several():
            lock.check_shared(workdir)
        return _train_and_evaluate(config, experiment, workdir, say, from_step, began, evaluate)


def _claim(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path, say: Callable[[str], None],
           stack: contextlib.ExitStack) -> None:
    """Creates and locks the folder of a run, and refuses one that holds another run."""
    try:
        atomic_files.make_folder(workdir)
        stack.enter_context(lock.locked(workdir, say))
        _keep_config(config, workdir)
        if _has_saved(workdir):
            check_split(workdir / 'splits.json')
            check_same_data(workdir, experiment.data.source.cases, experiment.data.fingerprint)
    except OSError as error:
        raise InputError(f'--workdir={workdir}: cannot be written: {error.strerror}') from error


def _train_and_evaluate(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path,
                        say: Callable[[str], None], from_step: int | None, began: float, evaluated: bool) -> bool:
    """Trains, evaluates and draws the report in a folder that is locked; see `train_and_evaluate`."""
    say(f'{headline(config, experiment)}   results: {workdir}')
    if experiment.data.source.summary:
        say(experiment.data.source.summary)
    for line in [*experiment.data.source.warnings, *experiment.data.warnings]:
        say(f'warning: {line}')
    record = _recorder(config, experiment, workdir, began)
    record(began)
    if distributed.is_first():
        atomic_files.write_json(workdir / participants.NAME, participants.describe(experiment.data))
    experiment.evaluator.check(experiment.task, experiment.abstract_state().variables(), experiment.batches[0])
    if distributed.is_first():
        draw_augmented(experiment, workdir)
    names = experiment.log_also if distributed.is_first() else ()
    with trackers.opened(names, workdir, config, say) as tracked:
        tracked.keep('config.json')
        trained = began
        try:
            finished = loop.train(experiment, workdir, say=say, from_step=from_step, trackers=tracked)
        finally:
            trained = time.monotonic()
            record(trained)
        if not finished or not evaluated:
            tracked.status = 'finished' if finished else 'stopped'
            return finished
        from medjax import evaluate  # imports what draws: not before it is needed
        with signals.as_interrupt(trained=True) if distributed.several() else contextlib.nullcontext():
            results = evaluate.evaluate(config, experiment, workdir)
            record(trained)
            if results is not None:
                evaluate.publish(results, config, workdir, say)
        if tracked:
            _keep_results(tracked, config, workdir)
    return True


def _keep_results(tracked: trackers.Trackers, config: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Gives the report, the results and a model card to the trackers."""
    from medjax.deploy import model_card

    results, record = (atomic_files.read_json(workdir / name) for name in ('results.json', 'environment.json'))
    atomic_files.write_text(workdir / MODEL_CARD, model_card.of_run(config, results, record, workdir.name))
    tracked.keep('report.html', 'results.json', MODEL_CARD)
    tracked.status = 'finished'


def _recorder(config: Mapping[str, Any], experiment: Experiment, workdir: pathlib.Path,
              began: float) -> Callable[[float], None]:
    """A function of the end of the training, in seconds, that writes `environment.json`; writes `splits.json`.

    Of several processes the first alone writes.
    """
    if not distributed.is_first():
        return lambda trained: None
    before = _record(workdir)
    # Weights from elsewhere are part of what repeats a run; a resumed run no longer reads them.
    given = before.get('init_hash') if before else _hash(experiment.pretrained)
    record = {**log.environment(), 'seed': config['seed'], 'parameters': count(experiment), 'init_hash': given,
              'config_hash': configs.digest(workdir / 'config.json'),
              'data_hash': experiment.data.fingerprint,
              'split_hash': write_split(workdir / 'splits.json', experiment.data.source.cases)}
    if before:
        # A resumed run keeps the times and machines of all its parts.
        record['earlier_parts'] = [*before.pop('earlier_parts', []), before]

    def keep(trained: float) -> None:
        if not (workdir / 'config.json').exists():
            raise InputError(f'{workdir}: removed while training; expected the folder of the run to stay')
        atomic_files.write_json(workdir / 'environment.json', record | {
            'train_time_s': round(trained - began, 1), 'wall_time_s': round(time.monotonic() - began, 1),
            'peak_memory_mb': log.peak_memory_mb()})

    return keep


def _hash(arrays: Mapping[str, np.ndarray]) -> str | None:
    """SHA-256 of weights from elsewhere; None where there are none."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest() if arrays else None


def count(experiment: Experiment) -> int:
    """The number of the network's parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(experiment.abstract_state().params))


def headline(config: Mapping[str, Any], experiment: Experiment) -> str:
    """A line with devices, parameters, cases, steps and batch size."""
    counts = '  '.join(f'{split} {n}' for split, n in experiment.data.counts.items())
    devices = jax.devices()
    return (f'{len(devices)} × {devices[0].device_kind}   {count(experiment):,} parameters   cases: {counts}   '
            f'{experiment.steps} steps of {config["batch"]}')


def rehearse(config: Mapping[str, Any], steps: int = 5) -> None:
    """Prints the arithmetic, memory and time of a step, by compiling and running a few; writes no results."""
    say = distributed.only_first(lambda line: print(line, flush=True))
    experiment = assemble.experiment(config)
    experiment.global_batch_size()
    say(headline(config, experiment))
    plan, abstract = experiment.plan, experiment.abstract_state()
    step_fn, flops = experiment.step(abstract), experiment.flops()
    say(experiment.check_memory(step_fn, abstract))
    state, key, times = plan.init_state(experiment.create_state, abstract), jax.random.key(experiment.seed), []
    began = time.monotonic()
    for batch in experiment.stream(0, steps + 1):
        state, measured = step_fn(state, batch, key)
        jax.block_until_ready(measured)
        times.append(time.monotonic() - began)  # reading included
        began = time.monotonic()
    seconds = float(np.median(times[1:]))  # the first one warms up
    say(f'{flops / 1e9:,.1f} GFLOP and {seconds:.3f} s a step (median of {steps}): {flops / seconds / 1e9:,.0f} '
        f'GFLOP/s, {config["batch"] / seconds:.1f} images/s; {experiment.steps} steps take '
        f'{seconds * experiment.steps / 60:.1f} min without validation')


def _keep_config(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
    """Writes `config.json`; refuses a folder that holds the checkpoints or the results of another experiment."""
    path = workdir / 'config.json'
    new = configs.from_json(configs.to_json(config)).to_dict()
    if path.exists() and (_has_saved(workdir) or (workdir / 'results.json').exists()):
        old = configs.read(path).to_dict()
        for key in sorted({*old, *new} - {*FREE}):
            if old.get(key) != new.get(key):
                raise InputError(f'config.{key}: {new.get(key)}, but the run in {workdir} has {old.get(key)}; '
                                 'choose another --workdir, or use the same config to resume')
    atomic_files.write_text(path, configs.to_json(config))


def _has_saved(workdir: pathlib.Path) -> bool:
    return any((workdir / 'checkpoints').glob('[0-9]*'))


def _record(workdir: pathlib.Path) -> dict[str, Any]:
    """The environment that the run in a folder recorded, where it has saved a step; empty for a new run."""
    path = workdir / 'environment.json'
    return atomic_files.read_optional_json(path, 'the environment of the run') if _has_saved(workdir) else {}


def draw_augmented(experiment: Experiment, workdir: pathlib.Path, count: int = 8) -> None:
    """Writes some training examples, as read and as augmented, for the report."""
    batch = experiment.batches[0]
    if experiment.augment is None or batch['image'].ndim < 4 or not {'label', 'boxes'} & set(batch):
        return
    # Augmented with the keys of the first steps, so that the report shows what the network is trained on.
    batches = [batch, *(experiment.batches[step] for step in range(1, -(-count // len(batch['index']))))]
    batch = {k: np.concatenate([b[k] for b in batches])[:count] for k in batch if k != 'id'}
    seen = jax.jit(experiment.augment)(batch, stream(jax.random.key(experiment.seed), 'augment'))
    arrays = {'image': np.asarray(seen['image'][..., 0]), 'original': batch['image'][..., 0]}
    if 'boxes' in batch:
        arrays |= {'boxes': seen['boxes'], 'box_mask': seen['box_mask'], 'original_boxes': batch['boxes']}
    else:
        label = np.asarray(seen['label'])
        arrays['label'] = label if label.shape == arrays['image'].shape else np.zeros(arrays['image'].shape, np.uint8)
    atomic_files.write_arrays(workdir / 'augmented.npz', **arrays)
