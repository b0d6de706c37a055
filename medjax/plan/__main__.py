"""Plans the networks for a data set of nnU-Net or the Decathlon, and writes a config with the reason of each line.

    python -m medjax.plan --data=DIR --output=configs/mine.py [--memory_gb=8] [--preset=resenc_m]
"""

import dataclasses
import functools
import pathlib
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from medjax import cli

cli.prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from medjax import atomic_files, build, outputs  # noqa: E402
from medjax.core import cost, state  # noqa: E402
from medjax.core.step import make_step  # noqa: E402
from medjax.data.io import nnunet_dataset  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.plan import config_file, memory, rules  # noqa: E402
from medjax.plan.fingerprint import fingerprint  # noqa: E402
from medjax.plan.topology import Topology  # noqa: E402

SHARE = 0.9  # of a device's memory that a step may take by default
FOLDS = 5
LOSS = {'cross_entropy': 1.0, 'soft_dice': 1.0}
OPTIMISER = {'name': 'sgd', 'lr': 0.01, 'clip': 12.0, 'schedule': {'name': 'polynomial'}}


def plan(folder: pathlib.Path, output: pathlib.Path, gigabytes: float | None = None, preset: str = 'plain',
         rule: str = 'compiled', command: str = '', say: Callable[[str], None] = cli.say) -> tuple[rules.Plan, ...]:
    """Plans the networks for a data set and writes a config.

    Args:
      folder: of the data set, with `dataset.json`.
      output: the config's file, which must not exist.
      gigabytes: of memory for a step; by default 90 % of the device's.
      preset: a name in `plan.memory.PRESETS`.
      rule: what decides what fits: 'compiled', XLA's analysis of the compiled step; or 'feature_maps', nnU-Net's count.
      command: for the config's docstring.
      say: takes lines on the progress.

    Returns:
      The configurations; the first is the config's default.

    Raises:
      InputError: no data set that is known; a case that cannot be read; an output that exists.
    """
    if output.suffix != '.py' or output.exists():
        raise InputError(f'--output={output}: {"exists" if output.exists() else "no .py file"}; expected the name of a '
                         'new config, such as configs/mine.py')
    if preset not in memory.PRESETS or not (gigabytes is None or gigabytes > 0):
        raise InputError(f'--preset={preset}, --memory_gb={gigabytes}; expected one of {", ".join(memory.PRESETS)}, '
                         'and a number above 0')
    section, labels = _source(folder)
    source = build.dataset_source(section)
    outputs.check_outputs([output], [pathlib.Path(file) for case in source.cases for file in case.files],
                          f'--output={output}')
    classes = len(source.regions) or len(source.classes)
    found = dataclasses.replace(fingerprint(source, say).reversed(), outputs=classes if rule == 'compiled' else labels)
    room = gigabytes or SHARE * cost.device_memory(jax.local_devices()[0]) / cost.GIB
    fits: rules.Memory = memory.FeatureMaps(room, preset)
    words = f"Memory: nnU-Net's count of feature maps for {room:.3g} GB."
    if rule == 'compiled':
        fits = memory.CompiledStep(room, functools.partial(_step_bytes, preset), say,
                                   memory.PRESETS[preset].covered)
        words = (f"Memory: XLA's analysis of the compiled step on {jax.local_devices()[0].device_kind}, for {room:.3g} "
                 'GiB.')
    found_plans = rules.plans(found, fits)
    target = rules.target_spacing(found)
    trained = len({case.patient for case in source.cases if case.split != 'test'})
    folds = {'folds': FOLDS, 'fold': 0} if trained >= FOLDS else {}
    if 'splits_final' in section:
        folds = {'fold': 0}
    described = config_file.Described(section, folds, classes, len(source.classes) - 1, command, words, preset,
                                      rules.order_of_axes(target), target)
    atomic_files.write_text(output, config_file.text(found, found_plans, described))
    return found_plans


def _source(folder: pathlib.Path) -> tuple[dict[str, Any], int]:
    """The section of the source that reads a folder, and the number of labels that its `dataset.json` names."""
    path = folder / nnunet_dataset.NAME
    if not path.is_file():
        raise InputError(f'--data={folder}: no {nnunet_dataset.NAME} there; expected a data set of nnU-Net or the '
                         'Decathlon')
    content = atomic_files.read_json(path, nnunet_dataset.EXPECTED)
    name = 'msd' if 'modality' in content and 'training' in content else 'nnunet'
    section = {'name': name, 'dir': str(folder.resolve())}
    if name == 'nnunet' and (folder / 'splits_final.json').exists():
        section['splits_final'] = 'splits_final.json'
    return section, len(content.get('labels') or ())


def _step_bytes(preset: str, levels: Topology, outputs: int, channels: int, batch: int) -> int:
    """Bytes of a training step with augmentation, from its compiled program; nothing is allocated."""
    module = build.network({**memory.model_fields(levels, preset), 'classes': outputs}, 'float32')
    task = build.task_of({'name': 'segmentation', 'loss': LOSS}, module, {
        'classes': [str(number) for number in range(outputs)]})
    update, _ = build.optimiser(OPTIMISER, 1000, module)
    shape = (batch, *levels.patch)
    example = {'image': np.zeros((*shape, channels), np.float32), 'label': np.zeros(shape, np.int32),
               'mask': np.ones(batch, np.float32), 'index': np.arange(batch, dtype=np.int32),
               'spacing': np.ones((batch, len(levels.patch)), np.float32)}
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), example)
    abstract = jax.eval_shape(lambda: state.create_state(task, update, jax.random.key(0), example))
    step = make_step(task, update, augment=build.augmentation({'name': 'nnunet'}))
    return cost.program_memory(jax.jit(step, donate_argnums=0).lower(abstract, shapes, jax.random.key(0)).compile())


def main(_: Sequence[str]) -> None:
    """Reads the flags and plans."""
    given = {name: flags.FLAGS[name].value for name in ('data', 'output', 'memory_gb', 'preset', 'memory_rule')}
    command = shlex.join(['python', '-m', 'medjax.plan', *(f'--{name}={value}' for name, value in given.items()
                                                           if value is not None)])
    output = pathlib.Path(OUTPUT.value)
    for one in plan(pathlib.Path(DATA.value), output, MEMORY.value, PRESET.value, RULE.value, command):
        cli.say(f'{one.name}: patch {"×".join(map(str, one.levels.patch))}, batch {one.batch}, '
                f'{len(one.levels.strides)} levels, spacing {"×".join(f"{value:.3g}" for value in one.spacing)} mm '
                '(slowest axis first)')
    cli.say(f'{output}')


if __name__ == '__main__':
    DATA = flags.DEFINE_string('data', None, 'The folder of a data set of nnU-Net or the Decathlon.')
    OUTPUT = flags.DEFINE_string('output', None, 'The config to write, .py.')
    MEMORY = flags.DEFINE_float('memory_gb', None, 'Memory that a training step may take; by default 90 % of the '
                                "device's.")
    PRESET = flags.DEFINE_enum('preset', 'plain', list(memory.PRESETS), "The network: nnU-Net's plain U-Net, or one of "
                               'its residual encoders.')
    RULE = flags.DEFINE_enum('memory_rule', 'compiled', ['compiled', 'feature_maps'], "What decides what fits: XLA's "
                             "analysis of the compiled step, or nnU-Net's count of feature maps.")
    flags.mark_flags_as_required(['data', 'output'])
    cli.run(main)
