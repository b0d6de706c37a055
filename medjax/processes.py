"""Checks that all processes of one run have the same config, code, data and devices."""

from collections.abc import Mapping
from typing import Any

import jax

from medjax.core import distributed, log
from medjax.core.experiment import Experiment
from medjax.data.split_files import split_hash


def check_processes(config: Mapping[str, Any], experiment: Experiment) -> None:
    """Checks that all processes have the same config, code, versions, data and devices; nothing for one process.

    Raises:
      InputError: with the name of the first that differs, and who has what.
    """
    if distributed.several():
        distributed.check_equal(_facts(config, experiment))


def _facts(config: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """The values that have to be equal, by names for messages."""
    environment = log.environment()
    kind = jax.local_devices()[0]
    return {**_leaves(config), 'code': f'{environment["git_commit"][:12] or "no commit"}, sha256 {log.code_hash()}',
            **{f'version of {name}': version for name, version in environment['versions'].items()},
            'data_hash': experiment.data.fingerprint, 'split_hash': split_hash(experiment.data.source.cases),
            'devices': f'{jax.local_device_count()} × {kind.device_kind}',
            'training data in device memory': experiment.placed is not None}


def _leaves(section: Mapping[str, Any], name: str = 'config') -> dict[str, Any]:
    """The values of a section by their dotted names."""
    found = {}
    for key, value in section.items():
        inner = f'{name}.{key}'
        found |= _leaves(value, inner) if isinstance(value, Mapping) and value else {inner: value}
    return found
