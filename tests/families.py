"""Trains small runs of several families one after another, as one of the processes of test_several.py.

    python -m tests.families OUTPUT NAME … [--distributed=…]
"""

import pathlib
import sys

from medjax import training
from medjax.core import distributed
from medjax.run import load_config

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS, BATCH = 5, 4
MESHES = {'': {}, 'fsdp': {'fsdp': 4}, 'fsdp2': {'fsdp': 2}, 'space': {'space': 4}, 'space2': {'space': 2}}


def config(name):
    """The smoke variant of a config, `CONFIG` or `CONFIG:MESH`, with a batch for four devices and a few steps."""
    name, _, mesh = name.partition(':')
    made = load_config(f'{ROOT}/configs/{name}.py:smoke')
    made.unlock()
    made.steps, made.batch, made.epochs = STEPS, BATCH, 0
    made.log = {'every': 1}
    made.mesh = {'data': -1, 'fsdp': 1, 'space': 1, **MESHES[mesh]}
    if name == 'classify_pneumonia_resnet18':
        made.augment = {'name': 'flip', 'mixup': 0.4}
    return {key: value for key, value in made.to_dict().items() if value != {}}


def main(output, *names):
    """Trains, evaluates and reports each of them in a folder of its own."""
    where = names[-1].removeprefix('--distributed=') if names[-1].startswith('--') else ''
    with distributed.started(where):
        for name in names:
            if not name.startswith('--'):
                training.train_and_evaluate(config(name), pathlib.Path(output) / name)


if __name__ == '__main__':
    main(*sys.argv[1:])
