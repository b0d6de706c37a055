"""NIfTI files with the header of the image that they were predicted for.

A NIfTI header may have two affines, each with a code, spacings and a unit, and programs choose among them differently
(nibabel and FSL take the sform first, ITK the qform where the sform is sheared, and all differ where both codes are 0).
A label is therefore only where its image is, in every program, if it has all of these as its image has them.
"""

import gzip
import logging
import pathlib

import nibabel as nib
import numpy as np

HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}  # by their size in bytes
MOST = 2**15 - 1  # voxels along an axis in NIfTI-1
MILLIMETRES = {'meter': 1e3, 'micron': 1e-3}
FORMS = ('qform_code', 'quatern_b', 'quatern_c', 'quatern_d', 'qoffset_x', 'qoffset_y', 'qoffset_z', 'sform_code',
         'srow_x', 'srow_y', 'srow_z', 'xyzt_units')

_quiet = logging.Logger('medjax.nifti', logging.CRITICAL)  # nibabel logs each header field that it corrects


def encode(array: np.ndarray, affine: np.ndarray, like: str | pathlib.Path = '') -> bytes:
    """The content of an uncompressed NIfTI file; equal arguments give equal bytes.

    Args:
      array: `[X, Y, Z]` or `[X, Y, Z, C]`.
      affine: voxel to RAS+ mm.
      like: the file of an image. If it is NIfTI, the result has its qform and sform, both codes, its spacings, unit and
        version: as they are for an array on the image's grid; else, for a grid whose axes are those of the image, in
        any order, both forms are those of the image after the same change of voxel coordinates. An image whose codes
        are both 0 has no place on which programs agree: on another grid, the result is where nibabel reads the image,
        and says so by a code, so that all programs place it alike.
    """
    header = read_header(pathlib.Path(like)) if like else None
    if header is not None and header['dim'][0] == 2 and array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]  # a program that reads the image as 2D reads the label as 2D
    found = _of_grid(header, array.shape, affine) if header is not None else None
    if found is None:
        second = isinstance(header, nib.Nifti2Header) or max(array.shape) > MOST
        image = (nib.Nifti2Image if second else nib.Nifti1Image)(array, affine)
        image.header.set_xyzt_units('mm')
        return image.to_bytes()
    found.set_data_dtype(array.dtype)
    # Without nibabel's image, which would correct the fields.
    found['scl_slope'], found['scl_inter'], found['vox_offset'] = 1, 0, found['sizeof_hdr'] + 4
    return found.binaryblock + bytes(4) + array.tobytes(order='F')


def header_size(start: bytes) -> int:
    """The size of a NIfTI header, 348 or 540 bytes, by its first four bytes; 0 for any other file."""
    return next((n for n in HEADERS if start in (n.to_bytes(4, 'little'), n.to_bytes(4, 'big'))), 0)


def read_header(path: pathlib.Path) -> nib.Nifti1Header | None:
    """The header of a NIfTI file, or of a pair of files, without corrections; None for any other file."""
    name = path.name.lower()
    if name.endswith('.img'):
        headers = [p for p in path.parent.iterdir() if p.stem == path.stem and p.suffix.lower() == '.hdr']
        path = headers[0] if headers else path
    elif not name.endswith(('.nii', '.nii.gz', '.hdr')) or not path.is_file():
        return None
    with gzip.open(path, 'rb') if name.endswith('.gz') else path.open('rb') as file:
        start = file.read(4)
        size = header_size(start)
        content = start + file.read(max(size - 4, 0))
    if not size or len(content) < size:
        return None
    header = HEADERS[size](content, check=False)
    return header if header['magic'].item()[:2] in (b'n+', b'ni') else None


def unit_mm(header: nib.Nifti1Header) -> float:
    """The unit of length of a header in mm; 1 where it names none, or one that is not in the standard."""
    try:
        return MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    except KeyError:
        return 1.0


def _of_grid(header: nib.Nifti1Header, shape: tuple[int, ...], affine: np.ndarray) -> nib.Nifti1Header | None:
    """A new header with the geometry of an image's header on another grid; None where it cannot be expressed.

    Args:
      header: of the image.
      shape: of the other grid.
      affine: of the other grid, voxel to RAS+ mm.
    """
    fixed = header.copy()
    fixed.check_fix(_quiet, error_level=40)
    unit = np.diag([unit_mm(header)] * 3 + [1.0])
    # From voxels of the other grid to those of the image.
    change = np.linalg.inv(unit @ fixed.get_best_affine()) @ affine
    out = type(header)()
    out.set_data_shape(shape)  # sets spacings too
    if np.abs(change - np.eye(4)).max() < 1e-3 and (*header.get_data_shape(), 1)[:3] == (*shape, 1)[:3]:
        for name in FORMS:
            out[name] = header[name]
        out['pixdim'][:4] = header['pixdim'][:4]
        return out
    codes = int(fixed['qform_code']), int(fixed['sform_code'])
    axes = (np.abs(change[:3, :3]) > 1e-4).sum(0)
    if not any(codes) or (axes != 1).any():
        return None
    out['xyzt_units'] = header['xyzt_units']
    scale = np.diag([*fixed['pixdim'][1:4].astype(float), 1.0])
    out['pixdim'][1:4] = np.linalg.norm((scale @ change)[:3, :3], axis=0)
    if codes[0]:
        out.set_qform(fixed.get_qform() @ change, codes[0])
    # Beside a qform alone too: near half a turn, its numbers of single precision are rough.
    out.set_sform(fixed.get_best_affine() @ change, codes[1] or codes[0])
    return out
