"""A config of planned networks as the text of a Python file, with the reason of each line."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.plan.fingerprint import Fingerprint
from medjax.plan.memory import PRESETS, model_fields
from medjax.plan.rules import SMALLEST_BATCH, Plan

MASKED_BELOW = 0.75
CASCADE = '3d_cascade_fullres'
FIRST_STAGE = 'runs/first_stage'  # the folder of the evaluated ensemble of the first stage
# What nnU-Net does with a channel of this name, in lower case; z-scores for all others.
SCHEMES: dict[str, dict[str, Any]] = {
    'ct': {'name': 'percentile', 'low': 0.5, 'high': 99.5}, 'nonorm': {'name': 'none'},
    'rgb_to_0_1': {'name': 'window', 'low': 0.0, 'high': 255.0}}


@dataclasses.dataclass(frozen=True)
class Described:
    """The parts of a config beside its plans.

    Attributes:
      source: the section of the source.
      folds: the keys of config.data for the splits.
      classes: outputs of the network.
      foreground: classes of the labels without the background.
      command: that planned it.
      memory: what decided what fits, in words.
      preset: a name in `memory.PRESETS`.
      order: the axes z, y, x in the order of the plans.
      target: the spacing that images are resampled to, mm along z, y, x.
    """

    source: Mapping[str, Any]
    folds: Mapping[str, Any]
    classes: int
    foreground: int
    command: str
    memory: str
    preset: str
    order: tuple[int, ...]
    target: tuple[float, ...]


def text(found: Fingerprint, plans: Sequence[Plan], of: Described) -> str:
    """The text of the config.

    Args:
      found: the fingerprint, with axes z, y, x.
      plans: the first is the default variant.
      of: all else.
    """
    if any(plan.name == '3d_lowres' for plan in plans):
        plans = [*plans, *(dataclasses.replace(plan, name=CASCADE) for plan in plans if plan.name == '3d_fullres')]
    blocks = '\n'.join(_variant(plan, found, of, first=number == 0) for number, plan in enumerate(plans))
    names = ', '.join(f'`:{plan.name}`' for plan in plans)
    allowed = ', '.join(plan.name for plan in plans)
    intensity, why = _intensity(found)
    spacings = _span(np.array(found.spacings)[:, ::-1], 'mm')
    shapes = _span(np.array(found.shapes)[:, ::-1], 'voxels')
    volumes = '; '.join(f'{name} in {found.cases[name]} cases, median {found.volumes.get(name, 0):.3g} ml'
                        for name in found.cases)
    described = '\n'.join(textwrap.fill(line, 118) for line in (
        f'Spacing x, y, z: {spacings}.', f'Shape after cropping: {shapes}.',
        f'Variants: {names}; the first is the default. {of.memory}', f'Volumes of classes: {volumes}.'))
    return f'''"""Segmentation planned from {len(found.spacings)} cases by nnU-Net's rules (Isensee 2021).

    {of.command}

{described}
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    """The config of a variant."""
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 250_000  # nnU-Net's 1000 epochs of 250 batches
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0, soft_dice=1.0))
    c.data = dict(name='volumes', foreground=1 / 3, source={_literal(of.source)})
    c.data.update({_arguments(of.folds)})
{_comment(why)}
    c.data.intensity = {_literal(intensity)}
    c.augment = dict(name='nnunet')
    c.optim = dict(name='sgd', lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5, clip=12.0,
                   schedule=dict(name='polynomial', power=0.9))
    c.evaluate = dict(name='segmentation', overlap=0.5)
    c.checkpoint = dict(every=5000)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
{blocks}
    else:
        raise ValueError(f'variant {{variant!r}}; expected one of: {allowed}')
    return c
'''


def _variant(plan: Plan, found: Fingerprint, of: Described, first: bool) -> str:
    """The lines of a variant."""
    axes = [2 - axis for axis in of.order[3 - len(plan.spacing):]]  # x, y, z of the plan's axes
    rank = np.argsort(axes)
    names = ', '.join('xyz'[axis] for axis in sorted(axes))

    def ordered(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[place] for place in rank)

    whole = {axis: (1, of.target[2 - axis], None) for axis in range(3)}
    whole |= dict(zip(axes, zip(plan.levels.patch, plan.spacing, plan.median)))
    fields = model_fields(plan.levels, of.preset)
    fields['kernels'], fields['strides'] = (tuple(map(ordered, fields[key])) for key in ('kernels', 'strides'))
    median = ' × '.join(f'{whole[axis][2]:g}' for axis in sorted(axes))
    share = PRESETS[of.preset].covered
    covering = (f'{share:.0%} of the voxels of the data set allow no more' if plan.batch < plan.largest_batch
                else f'what fits into memory, at least {SMALLEST_BATCH}')
    thick = max(of.target) / sorted(of.target)[1]
    why = [f'{_spacing_reason(plan, thick)}'] if len(plan.spacing) == 3 else [
        f'slices across {"xyz"[2 - of.order[0]]}, the axis with the largest spacing; they are resampled to the median '
        'distance, which nnU-Net keeps']
    lines = [
        f"    {'if' if first else 'elif'} variant {_condition(plan.name, first)}:",
        _comment(why[0], 8),
        f'        c.data.spacing = {_numbers(whole[axis][1] for axis in range(3))}',
        _comment(f'in proportion to the median image ({names}: {median} voxels), reduced until a step fits', 8),
        f'        c.data.patch = {tuple(int(whole[axis][0]) for axis in range(3))}',
        f'        c.batch = {plan.batch}  # {covering}',
        _comment('an axis is halved while its spacing is below twice the smallest and it has 8 voxels; kernels are 1 '
                 'along an axis until then', 8),
        f'        c.model = {_literal({**fields, "classes": of.classes}, 8)}',
        f'        c.evaluate.flips = {tuple(sorted(axes))}  # mirrored as nnU-Net does']
    if plan.name == CASCADE:
        lines += [
            _comment('the labels of 3d_lowres, by runs of all folds that did not train with the case, are further '
                     'channels: evaluate --ensemble --labels of those runs', 8),
            f'        c.data.previous = {FIRST_STAGE!r}',
            f'        c.augment.label_channels = {of.foreground}']
    return '\n'.join(lines)


def _condition(name: str, first: bool) -> str:
    return f"in ('', '{name}')" if first else f"== '{name}'"


def _spacing_reason(plan: Plan, thick: float) -> str:
    if plan.name == '3d_lowres':
        return 'coarser until the patch is a quarter of the median image'
    if thick > 3:
        return (f'the median of the cases; slices are {thick:.1f} times as thick as wide, so that where there are few '
                'of them the tenth percentile counts along their axis')
    return 'the median of the cases'


def _intensity(found: Fingerprint) -> tuple[dict[str, Any], str]:
    """The section of intensities, and its reason."""
    schemes = [SCHEMES.get(name.lower(), {'name': 'zscore'}) for name in found.channels]
    rows = found.intensities or ({},) * len(schemes)
    seen = '; '.join(f'{name}: ' + (f'0.5–99.5 % {row["low"]:.4g} to {row["high"]:.4g}' if row else 'none')
                     for name, row in zip(found.channels, rows))
    why = (f'by the names of the channels in dataset.json; labelled voxels have {seen}. Cropping leaves '
           f'{found.cropped:.0%} of a volume; z-scores are of voxels above the minimum')
    if all(scheme == schemes[0] for scheme in schemes):
        return schemes[0], why
    return {'name': 'by_channel', 'schemes': schemes}, why


def _span(values: np.ndarray, unit: str) -> str:
    """Median, smallest and largest of rows, in words."""
    low, median, high = (' × '.join(f'{one:.4g}' for one in row)
                         for row in (values.min(0), np.median(values, 0), values.max(0)))
    return f'median {median} {unit}, from {low} to {high}'


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(f'{value:.6g}') for value in values)


def _comment(words: str, indent: int = 4) -> str:
    """Words as lines of comment."""
    return textwrap.fill(words, 118, initial_indent=' ' * indent + '# ', subsequent_indent=' ' * indent + '# ')


def _arguments(section: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={_value(value)}' for key, value in section.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({_arguments(value)})'
    if isinstance(value, list):
        return '[' + ', '.join(map(_value, value)) + ']'
    return repr(value)


def _literal(section: Mapping[str, Any], indent: int = 4) -> str:
    """A section as `dict(…)`, over several lines where it is long."""
    line = f'dict({_arguments(section)})'
    if len(line) < 90:
        return line
    inner = f',\n{" " * (indent + 4)}'.join(f'{key}={_value(value)}' for key, value in section.items())
    return f'dict(\n{" " * (indent + 4)}{inner})'
