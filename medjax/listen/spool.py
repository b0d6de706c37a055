"""The files of a listener: images that came, by study and series, and the results that are to be sent."""

import os
import pathlib
import re
import shutil
from collections.abc import Mapping, Sequence

import pydicom
from pydicom.dataset import Dataset

from medjax import atomic_files
from medjax.data.io import dicom_pixels
from medjax.errors import InputError

UID = re.compile(r'[0-9]+(\.[0-9]+)*')
# Objects about images; only images themselves are predicted for.
NO_IMAGES = ('SEG', 'SR', 'RTSTRUCT', 'RTPLAN', 'PR', 'KO', 'REG', 'DOC', 'SEGMENTATION')
OWN = 'medjax'  # the manufacturer of this software's own objects
FIELDS = ('Modality', 'SeriesDescription', 'SeriesNumber', 'Manufacturer')
LISTED = 20  # series in a message


class Spool:
    """The folders of a listener.

    Args:
      folder: of the listener; `studies/STUDY/SERIES/IMAGE.dcm` are what came, `results/STUDY/` what was predicted.
    """

    def __init__(self, folder: pathlib.Path):
        self._studies, self._results = folder / 'studies', folder / 'results'

    def has(self, study: str, series: str, image: str, content: bytes) -> bool:
        """Whether an image is kept already with the same content.

        Raises:
          InputError: an identifier that is none.
        """
        path = self._image(study, series, image)
        return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content

    def add(self, study: str, series: str, image: str, content: bytes) -> None:
        """Keeps an image.

        Raises:
          InputError: an identifier that is none, or the file cannot be written.
        """
        atomic_files.write_bytes(self._image(study, series, image), content, private=True)

    def _image(self, study: str, series: str, image: str) -> pathlib.Path:
        """The file of an image."""
        for uid in (study, series, image):
            if len(uid) > 64 or not UID.fullmatch(uid):
                raise InputError('an image whose identifiers are no UIDs; expected digits and dots, up to 64')
        return self._studies / study / series / f'{image}.dcm'

    def series(self, study: str) -> dict[str, Dataset]:
        """The elements of an image of each series of a study; empty where no image was kept."""
        folder = self._studies / study
        if not folder.is_dir():
            return {}
        return {path.name: dicom_pixels.read_header(next(path.glob('*.dcm')))
                for path in sorted(folder.iterdir()) if any(path.glob('*.dcm'))}

    def path(self, study: str, series: str) -> pathlib.Path:
        """The folder of a series."""
        return self._studies / study / series

    def keep_results(self, study: str, contents: Sequence[bytes]) -> None:
        """Writes the results of a study in place of those that are there; all of them or, with an error, none."""
        folder = self._results / study
        shutil.rmtree(folder, ignore_errors=True)
        try:
            for number, content in enumerate(contents):
                atomic_files.write_bytes(folder / f'{number:04}.dcm', content, private=True)
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def results(self, study: str) -> list[pydicom.Dataset]:
        """The results of a study."""
        return [pydicom.dcmread(path) for path in sorted((self._results / study).glob('*.dcm'))]

    def own_series(self, study: str) -> set[str]:
        """The SeriesInstanceUIDs of the results of a study, which are none of its images."""
        return {str(pydicom.dcmread(path, specific_tags=['SeriesInstanceUID']).SeriesInstanceUID)
                for path in (self._results / study).glob('*.dcm')}

    def size(self) -> int:
        """Bytes of all images and results."""
        return sum(path.stat().st_size for folder in (self._studies, self._results) for path in folder.rglob('*.dcm'))

    def remove(self, study: str) -> bool:
        """Removes the images and results of a study; False where there are none."""
        found = [folder / study for folder in (self._studies, self._results) if (folder / study).is_dir()]
        for folder in found:
            shutil.rmtree(folder)
        return bool(found)

    def free(self) -> int:
        """Bytes that are left on the disk."""
        return shutil.disk_usage(self._studies.parent if self._studies.parent.exists() else os.curdir).free


def is_input(header: Dataset) -> bool:
    """Whether images with these elements may be predicted for: no other objects, and none that this software made."""
    return header.get('Modality', '') not in NO_IMAGES and header.get('Manufacturer', '') != OWN


def choose(study: str, series: Mapping[str, Dataset], rules: Mapping[str, str]) -> str:
    """The series of a study that is predicted for.

    Args:
      study: StudyInstanceUID.
      series: elements of each series by its SeriesInstanceUID.
      rules: for elements by name the pattern that their whole value matches, in any case of letters.

    Raises:
      InputError: none or several match; they are named by number, modality and the number of their images.
    """
    candidates = {uid: header for uid, header in series.items() if is_input(header)}
    found = [uid for uid, header in candidates.items()
             if all(re.fullmatch(pattern, _text(header.get(name)), re.IGNORECASE) for name, pattern in rules.items())]
    if len(found) == 1:
        return found[0]
    rule = ' '.join(f'{name}={pattern}' for name, pattern in rules.items())
    names = [f'{_text(header.get("SeriesNumber")) or "?"} ({header.get("Modality", "?")})'
             for uid, header in candidates.items() if not found or uid in found]
    listed = ', '.join(names[:LISTED]) or 'none'
    what = f'{len(found)} series match --series={rule}' if rule else f'{len(found)} series of images'
    raise InputError(f'study {study}: {what}: {listed}; expected one: choose it by --series, such as '
                     '--series=Modality=CT --series=SeriesNumber=3')


def _text(value: object) -> str:
    """An element's value as text; the values of a multiple one are joined by a backslash."""
    if value is None:
        return ''
    return '\\'.join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value).strip()
