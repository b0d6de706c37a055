"""Labels that name their segments: .seg.nrrd of 3D Slicer, contours of radiotherapy (RTSTRUCT), and XML of LIDC-IDRI.

A segment is the class of the same name, in any case of letters. Its number in the file means nothing: Slicer counts in
the order in which segments were made. Segments that overlap are refused, since a voxel has one label. The nodules of
LIDC-IDRI are the segment 'nodule'.
"""

import pathlib
import re
from collections.abc import Sequence

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import RTStructureSetStorage

from medjax.data.io import dicom, itk_headers
from medjax.data.io.geometry import Image, describe
from medjax.data.io.simpleitk import from_itk
from medjax.data.labels import lidc
from medjax.data.labels.polygons import inside
from medjax.errors import InputError, few

SLICER = '.seg.nrrd'
LABEL_VALUE = re.compile(r'(Segment\d+)_LabelValue')
PLANES = ('CLOSED_PLANAR', 'CLOSEDPLANAR_XOR')
OFF = 0.25  # of the distance between slices: how far a contour may be from its slice


def names_segments(path: pathlib.Path) -> bool:
    """Whether a file is of one of these formats."""
    if not path.is_file():
        return False
    if path.name.lower().endswith(SLICER):
        return True
    if path.suffix.lower() == '.xml':
        return True
    found = dicom.read_tags(path) if dicom.is_dicom(path) else None
    return found is not None and found.get(dicom.CLASS) == RTStructureSetStorage


def read(path: pathlib.Path, image: Image, classes: Sequence[str], ignore_others: bool = False) -> Image:
    """A label as class numbers.

    Args:
      path: of the label.
      image: that it is for.
      classes: names, background first.
      ignore_others: whether segments that are no class are left out; else they are refused.

    Returns:
      uint8 `[X, Y, Z]`: of contours on the image's grid, of .seg.nrrd on the file's own.

    Raises:
      InputError: segments that are no class, that overlap, or contours that are on no slice of the image.
    """
    if path.suffix.lower() == '.xml':
        masks, affine = {'nodule': lidc.read(path, image).array > 0}, image.affine
    elif path.name.lower().endswith(SLICER):
        masks, affine = _slicer_masks(path)
    else:
        masks, affine = _contour_masks(path, image), image.affine
    numbers = {name.lower(): number for number, name in enumerate(classes)}
    others = [name for name in masks if name.strip().lower() not in numbers]
    if others and not ignore_others:
        raise InputError(f'{path}: segments {few(others)}; expected names of classes, {", ".join(classes)}, or '
                         "other_segments='ignore'")
    label: np.ndarray | None = None
    for name, mask in masks.items():
        if name in others:
            continue
        if label is None:
            label = np.zeros(mask.shape, np.uint8)
        number = numbers[name.strip().lower()]
        both = label[mask & (label != number)]
        if both.any():
            raise InputError(f'{path}: segments {classes[both[both > 0][0]]} and {name} overlap in '
                             f'{np.count_nonzero(both)} voxels; expected segments without overlap, since a voxel has '
                             'one label')
        label[mask] = number
    if label is None:
        raise InputError(f'{path}: no segment of the classes {", ".join(classes[1:])}; expected at least one')
    return Image(label, affine, str(path))


def _slicer_masks(path: pathlib.Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The mask of each segment by its name, and the affine of a .seg.nrrd file, whose layers hold segments each."""
    itk_headers.check(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f'{path}: cannot be read as {SLICER}; expected a whole file: damaged or cut short?') from error
    array, affine = from_itk(image)
    layers = array if array.ndim == 4 else array[..., None]
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    masks: dict[str, np.ndarray] = {}
    for key in sorted(fields):
        found = LABEL_VALUE.fullmatch(key)
        if not found:
            continue
        name = fields.get(f'{found[1]}_Name', found[1])
        layer = int(fields.get(f'{found[1]}_Layer') or 0)
        if name in masks:
            raise InputError(f'{path}: two segments {name!r}; expected different names')
        if layer >= layers.shape[-1]:
            raise InputError(f'{path}: segment {name!r} in layer {layer}, of {layers.shape[-1]}; expected a whole file')
        masks[name] = layers[..., layer] == int(fields[key])
    if not masks:
        raise InputError(f'{path}: no segments in the header; expected fields such as Segment0_LabelValue')
    return masks, affine


def _contour_masks(path: pathlib.Path, image: Image) -> dict[str, np.ndarray]:
    """The mask of each ROI by its name on the grid of an image, of the voxels whose centre is within its contours."""
    data = pydicom.dcmread(path)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in data.get('StructureSetROISequence') or ()}
    masks: dict[str, np.ndarray] = {}
    to_voxels = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    for roi in data.get('ROIContourSequence') or ():
        name = names.get(int(roi.ReferencedROINumber), f'ROI {roi.ReferencedROINumber}')
        if name in masks:
            raise InputError(f'{path}: two ROIs {name!r}; expected different names')
        mask = np.zeros(image.array.shape[:3], bool)
        for contour in roi.get('ContourSequence') or ():
            if contour.ContourGeometricType not in PLANES:
                raise InputError(f'{path}: ROI {name!r} has a contour of type {contour.ContourGeometricType}; expected '
                                 f'{" or ".join(PLANES)}')
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3))
            voxels = np.c_[points, np.ones(len(points))] @ to_voxels[:3].T
            heights = voxels[:, 2]
            place = int(np.rint(heights.mean()))
            if np.abs(heights - place).max() > OFF or not 0 <= place < mask.shape[2]:
                raise InputError(f'{path}: a contour of {name!r} is at slice {heights.min():.2f} to '
                                 f'{heights.max():.2f} of {image.path}: {describe(image)}; expected contours on its '
                                 'slices')
            mask[:, :, place] ^= inside(voxels[:, :2], mask.shape[:2])  # holes are contours of their own
        masks[name] = mask
    return masks
