"""Runs a command of medjax as a shell would."""

import contextlib
import dataclasses
import io
import os
import runpy
import subprocess
import sys
from unittest import mock

from absl import flags

from tests.conftest import FAST_COMPILE, ROOT

OWN = {'config', 'evaluate', 'workdir', 'dry_run', 'distributed', 'from_step', 'split', 'input', 'output',
       'largest_component', 'fill_holes', 'pretrained', 'dicom', 'dicom_objects', 'dicom_options', 'folder',
       'pacs', 'poll', 'query', 'host', 'port', 'aet', 'quiet', 'series', 'token_file', 'retry_failed',
       'until_idle', 'keep_days', 'compare', 'ensemble', 'best', 'labels', 'merge', 'all_pairs', 'metrics',
       'table',
       'nnunet', 'folds', 'mirror', 'splits', 'data', 'memory_gb', 'preset', 'memory_rule',
       'images', 'equal', 'seed',
       'format', 'precision', 'measure', 'pool', 'count', 'strategy', 'labelled', 'numbered', 'targets', 'confirm',
       'stable_weeks', 'new_mm', 'visit_unit', 'dates', 'hosts', 'origins', 'queue', 'batch_wait_ms', 'batch',
       'upload_mb', 'pixels', 'upload_seconds', 'tmp', 'datastore', 'example', 'against', 'device', 'json', 'plot',
       'rounds', 'seconds', 'dicomweb', 'train_folder'}


@dataclasses.dataclass
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


def process(module, *arguments, **environment):
    """`python -m medjax.MODULE ARGUMENTS` as a process of its own, on one device."""
    # Compiled fast, as in all tests: see conftest.
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': FAST_COMPILE,
                   'JAX_PLATFORMS': 'cpu', **environment}
    done = subprocess.run([sys.executable, '-m', f'medjax.{module}', *map(str, arguments)], cwd=ROOT, env=environment,
                          capture_output=True, text=True)
    return Ended(done.returncode, done.stdout, done.stderr)


def run(module, *arguments):
    """Runs the command in this process, because importing jax for each of many would take minutes."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with mock.patch.object(sys, 'argv', [f'medjax/{module}.py', *map(str, arguments)]), \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(f'medjax.{module}', run_name='__main__')
        except SystemExit as exit_:
            code = exit_.code or 0
        finally:
            for name in [name for name in flags.FLAGS if name in OWN or name.startswith('config.')]:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
    return Ended(code, out.getvalue(), err.getvalue())
