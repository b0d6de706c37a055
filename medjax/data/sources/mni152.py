"""The MNI152 brain template that the package nilearn ships, with hemispheres and slabs of it as cases.

The ICBM 2009a nonlinear *symmetric* average of 152 healthy adults at 1 mm (Fonov 2011), skull-stripped, with
probability maps of grey and white matter. Symmetric means that the right hemisphere is, voxel for voxel, the mirror
image of the left one. A network trained on the whole left hemisphere and tested on the right one would therefore be
tested on its training data, mirrored. So two slabs of the left hemisphere are kept from training: one is the validation
case, and the mirror image of the other, the case `right_unseen`, is the part of the test that is in no other split.
"""

import functools
import importlib.util
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.io.image_files import read
from medjax.data.source import Case, Source
from medjax.data.splits import CrossValidation
from medjax.errors import InputError
from medjax.options import NonNegativeInt

CLASSES = ('background', 'csf', 'grey', 'white')
TEMPLATE = ('This is the MNI152 template: one volume, averaged from 152 people, not a patient. Its tissue labels are '
            'the largest of its own probability maps and were not drawn by a reader. ')
NOTICE = (TEMPLATE + 'The template is symmetric: the '
          'right hemisphere (test) mirrors the left one (training) voxel for voxel, so its score shows how well the '
          'network fits this template. Only “unseen”, the slab whose mirror image was kept from training and from '
          'validation, is tissue that is new to the network. The task is easy: two intensity thresholds, fitted on the '
          'training cases, reach Dice .90 for csf, .96 for grey and .96 for white on the test hemisphere. n = 1: '
          'the results do not show how the network would perform on other people.')
FOLDS_NOTICE = (TEMPLATE + 'With folds the cases are slabs of whole axial planes, {gap} mm apart, so that the mirror '
                'image of a test plane is in no other split. All slabs are of one brain, and the results do not show '
                'how the network would perform on other people.')
GAP = 4  # mm between the slabs of folds, whose neighbouring planes are nearly the same
MIDLINE = 98  # the sagittal plane at x = 0 mm belongs to neither hemisphere


def files() -> list[pathlib.Path]:
    """The files of T1, grey and white matter.

    Raises:
      InputError: nilearn is not installed.
    """
    package = importlib.util.find_spec('nilearn')
    if package is None:
        raise InputError("config.data.source: mni152 reads the template that the package nilearn ships; install it: "
                         "pip install nilearn, or medjax with its extra: pip install --editable '.[demo]'")
    folder = pathlib.Path(package.origin).parent / 'datasets' / 'data'
    return [folder / f'mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz' for kind in ('t1', 'gm', 'wm')]


@functools.cache
def template() -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """The whole template.

    Returns:
      T1 `[197, 233, 189]` uint8, its tissues as numbers of CLASSES (uint8), the affine in mm, and the path of the T1.
    """
    t1, grey, white = map(read, files())
    grey, white = grey.array.astype(np.int16), white.array.astype(np.int16)
    tissue = np.stack([255 - grey - white, grey, white]).argmax(0) + 1  # csf: neither grey nor white, within the brain
    label = np.where(t1.array > 0, tissue, 0).astype(np.uint8)
    return t1.array, label, t1.affine, str(t1.path)


def tissue_probabilities() -> tuple[np.ndarray, np.ndarray]:
    """The template's probability maps of grey and white matter, float32 from 0 to 1."""
    grey, white = (read(path).array.astype(np.float32) / 255 for path in files()[1:])
    return grey, white


def _slab(x: tuple[int, int], z: tuple[int, int]) -> tuple[Image, Image]:
    """T1 and label between two sagittal and two axial planes."""
    t1, label, affine, path = template()
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (x[0], 0, z[0])
    part = np.s_[x[0]:x[1], :, z[0]:z[1]]
    return Image(t1[part], affine, path), Image(label[part], affine, path)


def source(*, validation: tuple[NonNegativeInt, NonNegativeInt] = (60, 76),
           unseen: tuple[NonNegativeInt, NonNegativeInt] = (92, 108),
           cross_validation: CrossValidation = CrossValidation()) -> Source:
    """A segmentation source with the template's hemispheres as cases, or slabs of it with folds.

    Args:
      validation: half-open range of axial planes (mm from the lowest plane) of the left hemisphere's slab that
        validates.
      unseen: the same for the slab that is taken from the right hemisphere only.
      cross_validation: folds over slabs of whole axial planes, in place of the hemispheres; `validation` and `unseen`
        are not used then.

    Returns:
      Cases `left_…` for training, one for each remaining slab; `left_validation`; `right`, the whole right hemisphere,
      for the test; and `right_unseen`, of the split `unseen`. With folds, cases `slab…`.
    """
    if cross_validation.folds:
        return _slabs(cross_validation)
    top = template()[0].shape[2]
    (a, b), (c, d) = sorted([validation, unseen])
    if not 0 < a < b < c < d < top:
        raise InputError(f'config.data.source: validation={validation} and unseen={unseen} must be two stretches of '
                         f'planes within 1..{top - 1} that do not touch')
    left, right = (0, MIDLINE), (MIDLINE + 1, 2 * MIDLINE + 1)
    parts = [('left_inferior', 'train', left, (0, a)), ('left_middle', 'train', left, (b, c)),
             ('left_superior', 'train', left, (d, top)), ('left_validation', 'val', left, validation),
             ('right', 'test', right, (0, top)), ('right_unseen', 'unseen', right, unseen)]
    paths = tuple(map(str, files()))
    cases = tuple(Case(id=name, patient='mni152', split=split, read=functools.partial(_slab, x, tuple(z)),
                       files=paths, how=str((x, tuple(z))))
                  for name, split, x, z in parts)
    return Source(cases=tuple(cross_validation.resplit(cases, 0)), classes=CLASSES, notice=NOTICE)


def _slabs(cross_validation: CrossValidation) -> Source:
    """Slabs of whole axial planes, at least one for each fold; one tests where folds are not nested."""
    shape = template()[0].shape
    folds = cross_validation.folds
    outer, inner = folds if isinstance(folds, Sequence) and len(folds) == 2 else (folds, 0)
    whole = isinstance(outer, int) and isinstance(inner, int) and outer > 1
    count = outer * math.ceil(inner / (outer - 1)) if whole and inner else outer + 1 if whole else 2
    ends = np.linspace(0, shape[2] + GAP, count + 1).round().astype(int)
    cases = [Case(id=f'slab{number}', patient='mni152', split='train' if number or inner else 'test',
                  files=tuple(map(str, files())), how=str((a, b)),
                  read=functools.partial(_slab, (0, shape[0]), (a, b)))
             for number, (a, b) in enumerate(zip(ends[:-1].tolist(), (ends[1:] - GAP).tolist()))]
    return Source(cases=tuple(cross_validation.resplit(cases, 0)), classes=CLASSES,
                  notice=FOLDS_NOTICE.format(gap=GAP))
