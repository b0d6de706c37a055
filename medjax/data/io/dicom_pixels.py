"""Pixels of DICOM files: decoded by pydicom or GDCM, and the values that they stand for.

The value of a pixel is its stored value × slope + intercept, by the file and the frame that it is in (PS3.3, C.11.1,
C.7.6.16.2.9), or the entry of its file's modality table. Where no frame has either, a linear real world value mapping
applies (C.7.6.16.2.11); doses are scaled by DoseGridScaling (C.8.8.3). Pixels that only fill up the image
(PixelPaddingValue) are values like others.

The photometric interpretation is about display (C.7.6.3.1.2). MONOCHROME1, where low values are white, is therefore
inverted only where values have no unit, as in radiographs; values of CT, MR, PET, NM and dose are kept.
"""

import logging
import math
import pathlib
import tempfile
import warnings
from collections.abc import Sequence

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length

from medjax.data.io.tables import PACKED, check_fits
from medjax.errors import InputError

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
          uid.DeflatedExplicitVRLittleEndian)
DECODED = (*NATIVE, uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000, uid.JPEG2000Lossless)
GDCM = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
FLOATS = ('FloatPixelData', 'DoubleFloatPixelData')
KINDS = {1: ('MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR'),
         3: ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT')}  # photometric interpretations by samples
MEASURED = ('CT', 'MR', 'PT', 'NM', 'RTDOSE')  # modalities whose values are kept under MONOCHROME1
INTEGERS = (np.uint8, np.uint16, np.int16, np.int32, np.uint32)

warnings.filterwarnings('ignore', module='pydicom')  # relevant ones are raised as InputError
logging.getLogger('pydicom').setLevel(logging.CRITICAL)  # it logs tracebacks of what is raised as InputError

Scaling = tuple[float, float]  # slope and intercept


def read_header(path: pathlib.Path) -> pydicom.Dataset:
    """Reads the elements of a DICOM file before its pixels."""
    return _with_syntax(pydicom.dcmread(path, force=True, stop_before_pixels=True))


def _with_syntax(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """A data set that names its transfer syntax, which old files without meta information do not."""
    if 'TransferSyntaxUID' not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little
            else uid.ExplicitVRBigEndian)
    return dataset


def frame_count(path: pathlib.Path, header: pydicom.Dataset) -> int:
    """The number of frames of a file."""
    count = header.get('NumberOfFrames')
    count = 1 if count is None or count == '' else int(count)
    if count < 1:
        raise InputError(f'{path}: NumberOfFrames (0028,0008) is {count}; expected at least 1')
    return count


def functional_group(header: pydicom.Dataset, number: int, name: str) -> pydicom.Sequence | None:
    """The items of a functional group of a frame: its own, else those of all frames; None where there are none."""
    frames = header.get('PerFrameFunctionalGroupsSequence') or ()
    shared = header.get('SharedFunctionalGroupsSequence') or ()
    own = [frames[number]] if number < len(frames) else []
    return next((groups[name].value for groups in (*own, *shared[:1]) if groups.get(name)), None)


def decode(path: pathlib.Path, header: pydicom.Dataset) -> np.ndarray:
    """Decodes the pixels of a file; tables of colours and of the modality are applied.

    Returns:
      Stored values `[frames, rows, columns]`, or `[frames, rows, columns, 3]` in red, green and blue.

    Raises:
      InputError: fewer or more pixels than the header declares, or an encoding that cannot be decoded.
    """
    count, samples = frame_count(path, header), int(header.SamplesPerPixel)
    shape = (count, int(header.Rows), int(header.Columns))
    if header.PhotometricInterpretation not in KINDS.get(samples, ()):
        raise InputError(f'{path}: SamplesPerPixel (0028,0002) is {samples}, PhotometricInterpretation (0028,0004) '
                         f'{header.PhotometricInterpretation}; expected 1 with {", ".join(KINDS[1])}, or 3 with '
                         f'{", ".join(KINDS[3])}')
    if 'BitsStored' in header and header.get('HighBit', header.BitsStored - 1) != header.BitsStored - 1:
        raise InputError(f'{path}: HighBit (0028,0102) is {header.HighBit}; expected {header.BitsStored - 1}, one less '
                         'than BitsStored (0028,0101)')
    check_fits(path, math.prod(shape) * samples, PACKED * path.stat().st_size)
    dataset, syntax = _with_syntax(pydicom.dcmread(path, force=True)), header.file_meta.TransferSyntaxUID
    if syntax in GDCM and not (syntax == uid.JPEGExtended12Bit and header.BitsStored == 8):
        pixels = _decode_by_gdcm(path, dataset, samples)
    else:
        check_decodable(path, header)
        _check_length(path, dataset, count)
        pixels = pixel_array(dataset)
    if header.PhotometricInterpretation == 'PALETTE COLOR':
        pixels, samples = apply_color_lut(pixels, header), 3
    elif header.get('ModalityLUTSequence'):
        pixels = apply_modality_lut(pixels, header)
    if pixels.size != math.prod(shape) * samples:
        raise InputError(f'{path}: {pixels.size} pixel values; expected {math.prod(shape) * samples}, as its header '
                         'declares')
    return pixels.reshape((*shape, 3) if samples == 3 else shape)


def check_decodable(path: pathlib.Path, header: pydicom.Dataset) -> None:
    """Checks that pydicom can decode the pixels of a file.

    Raises:
      InputError: with the encoding that it cannot decode.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax not in DECODED or not get_decoder(syntax).is_available:
        raise InputError(f'{path}: encoded as {syntax.name}; expected JPEG, JPEG-LS, JPEG 2000, run lengths or no '
                         'compression: convert it first, such as with gdcmconv --raw')


def _check_length(path: pathlib.Path, dataset: pydicom.Dataset, count: int) -> None:
    """Checks that uncompressed pixels are not those of more frames than are declared."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or 'PixelData' not in dataset:
        return
    expected, found = get_expected_length(dataset), len(dataset.PixelData)
    if found - expected >= expected // count and expected // count > 1:
        raise InputError(f'{path}: {found} bytes of pixels; expected {expected}, as it declares {count} '
                         f'frame{"" if count == 1 else "s"}')


def _decode_by_gdcm(path: pathlib.Path, dataset: pydicom.Dataset, samples: int) -> np.ndarray:
    """Decodes JPEG of 12 bits, lossless JPEG and JPEG-LS, which pydicom leaves to other libraries.

    GDCM reads the pixels from a copy of the file without rescaling, so that they are the stored values.
    """
    if samples == 3 and dataset.PhotometricInterpretation != 'RGB':
        raise InputError(f'{path}: colours as {dataset.PhotometricInterpretation} in '
                         f'{dataset.file_meta.TransferSyntaxUID.name}; expected RGB')
    for number, frame in enumerate(pydicom.encaps.generate_frames(
            dataset.PixelData, number_of_frames=frame_count(path, dataset))):
        if b'\xff\xd9' not in frame.rstrip(b'\0')[-3:]:  # GDCM fills up what is missing; a byte of padding may follow
            raise InputError(f'{path}: the JPEG of frame {number + 1} has no end; expected a whole file: cut short?')
    copy = pydicom.Dataset()
    for name in ('SamplesPerPixel', 'Rows', 'Columns', 'BitsAllocated', 'BitsStored', 'HighBit', 'PixelRepresentation',
                 'PixelData', 'NumberOfFrames', 'PlanarConfiguration'):
        if name in dataset:
            copy[name] = dataset[name]
    copy.PhotometricInterpretation = 'RGB' if samples == 3 else 'MONOCHROME2'
    copy.SOPClassUID, copy.SOPInstanceUID = uid.SecondaryCaptureImageStorage, '1.2'
    copy.file_meta = pydicom.dataset.FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / 'pixels.dcm'
        copy.save_as(file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO('GDCMImageIO')
        reader.SetFileName(str(file))
        return sitk.GetArrayFromImage(reader.Execute())


def stored_range(header: pydicom.Dataset) -> tuple[float, float]:
    """The smallest and the largest value that a pixel can have before it is rescaled."""
    if header.get('ModalityLUTSequence'):
        return 0, 2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    if header.PhotometricInterpretation == 'PALETTE COLOR':
        return 0, 2 ** int(header.RedPaletteColorLookupTableDescriptor[2]) - 1
    bits = int(header.BitsStored)
    return (-2 ** (bits - 1), 2 ** (bits - 1) - 1) if header.PixelRepresentation else (0, 2 ** bits - 1)


def scalings(path: pathlib.Path, frames: Sequence[tuple[pydicom.Dataset, int]]) -> list[Scaling]:
    """Slope and intercept of each frame of a series.

    Args:
      path: of the series, for messages.
      frames: each frame's header and its number in its file.

    Raises:
      InputError: no single real world value mapping where that is needed, or one that is not linear.
    """
    found = [_rescaling(header, number) for header, number in frames]
    out = [scaling or (1.0, 0.0) for scaling in found]
    if None in found and any(scaling != (1, 0) for scaling in out):
        raise InputError(f'{path}: {found.count(None)} of {len(found)} slices without RescaleSlope (0028,1053) and '
                         'RescaleIntercept (0028,1052); expected them in all or in none')
    tables = any(header.get('ModalityLUTSequence') or header.PhotometricInterpretation == 'PALETTE COLOR'
                 for header, _ in frames)
    if all(scaling == (1, 0) for scaling in out) and not tables:
        out = _real_world(path, frames)
    if not np.isfinite(out).all() or any(slope == 0 for slope, _ in out):
        raise InputError(f'{path}: slopes and intercepts {sorted(set(out))[:3]}; expected finite numbers, and slopes '
                         'other than 0')
    return [_upright(header, *scaling) for (header, _), scaling in zip(frames, out)]


def _rescaling(header: pydicom.Dataset, number: int) -> Scaling | None:
    """Slope and intercept of a frame by its functional groups or its file; None where neither has them."""
    if header.get('ModalityLUTSequence'):  # replaces slope and intercept; see `decode`
        return 1.0, 0.0
    if header.get('DoseGridScaling') is not None:
        return float(header.DoseGridScaling), 0.0
    item = (functional_group(header, number, 'PixelValueTransformationSequence') or [header])[0]
    slope, intercept = item.get('RescaleSlope'), item.get('RescaleIntercept')
    if slope in (None, '') and intercept in (None, ''):
        return None
    return 1.0 if slope in (None, '') else float(slope), 0.0 if intercept in (None, '') else float(intercept)


def _real_world(path: pathlib.Path, frames: Sequence[tuple[pydicom.Dataset, int]]) -> list[Scaling]:
    """Slope and intercept of each frame by its real world value mapping; 1 and 0 where no frame has one."""
    name, out, units = 'RealWorldValueMappingSequence', [], set()
    mappings = [list(functional_group(header, number, name) or header.get(name) or ()) for header, number in frames]
    if not any(mappings):
        return [(1.0, 0.0)] * len(frames)
    for items in mappings:
        if len(items) != 1:
            raise InputError(f'{path}: a slice with {len(items)} real world value mappings (0040,9096) and no '
                             'rescaling; expected one mapping, the same for all slices')
        slope, intercept = items[0].get('RealWorldValueSlope'), items[0].get('RealWorldValueIntercept')
        if slope is None or intercept is None:
            raise InputError(f'{path}: a real world value mapping (0040,9096) by a table; expected a slope and an '
                             'intercept')
        codes = items[0].get('MeasurementUnitsCodeSequence') or ()
        units.update(str(code.get('CodeValue', '')) for code in codes)
        out.append((float(slope), float(intercept)))
    if len(units) > 1:
        raise InputError(f'{path}: values in {", ".join(sorted(units))}; expected one unit')
    return out


def _upright(header: pydicom.Dataset, slope: float, intercept: float) -> Scaling:
    """The scaling that inverts values whose lowest is white; others as they are."""
    if header.PhotometricInterpretation != 'MONOCHROME1' or header.get('Modality') in MEASURED:
        return slope, intercept
    low, high = stored_range(header)
    return -slope, slope * (low + high) + intercept


def value_type(frames: Sequence[tuple[pydicom.Dataset, int]], scales: Sequence[Scaling]) -> np.dtype:
    """The smallest type that holds every value of a series: integers where slopes and intercepts are whole numbers."""
    bounds = []
    for (header, _), (slope, intercept) in zip(frames, scales):
        if 'BitsStored' not in header or slope != int(slope) or intercept != int(intercept):
            return np.dtype(np.float32)
        bounds += [slope * end + intercept for end in stored_range(header)]
    fits = [kind for kind in INTEGERS
            if np.iinfo(kind).min <= min(bounds) and max(bounds) <= np.iinfo(kind).max]
    return np.dtype(fits[0] if fits else np.float32)


def values(path: pathlib.Path, stored: np.ndarray, scaling: Scaling, dtype: np.dtype) -> np.ndarray:
    """The values of stored pixels, computed in double precision.

    Raises:
      InputError: a pixel is outside of the range of the bits that the header declares.
    """
    out = stored if scaling == (1, 0) else stored * scaling[0] + scaling[1]
    if dtype.kind in 'iu' and not np.iinfo(dtype).min <= out.min() <= out.max() <= np.iinfo(dtype).max:
        raise InputError(f'{path}: stored values from {stored.min()} to {stored.max()}; expected those of the bits '
                         'that BitsStored (0028,0101) declares')
    return out.astype(dtype)
