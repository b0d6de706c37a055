"""Options of the DICOM objects of predictions: the optional section `dicom` of a config."""

import dataclasses
from collections.abc import Mapping, Sequence

from medjax.errors import InputError

Code = Sequence[str]  # value, coding scheme, meaning

# What each object is made from, by the names of the parts of `contracts.Findings`.
OBJECTS = {'seg': ('labels',), 'fractional': ('labels',), 'labelmap': ('labels',), 'rtstruct': ('labels',),
           'sr': ('labels', 'class_probs', 'boxes'), 'derived': ('image',)}
SEGMENTATIONS = ('seg', 'fractional', 'labelmap')
DEFAULT = {'labels': ('seg', 'sr'), 'class_probs': ('sr',), 'boxes': ('sr',), 'image': ('derived',)}
TISSUE = ('85756007', 'SCT', 'Tissue')  # the generic category and type of segments without a code
SCHEME = '99MEDJAX'  # of classes of images and boxes without a code: the private one of this software
LONGEST = {'code': 16, 'scheme': 16, 'meaning': 64}  # characters, by PS3.5, 6.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DicomOptions:
    """The content of DICOM objects; nothing here changes a prediction.

    Attributes:
      codes: for each class `(value, scheme, meaning)` of what it is, such as `('10200004', 'SCT', 'Liver')` of SNOMED
        CT. A segment of a class without a code has the generic type and category Tissue (85756007, SCT) and the class's
        name as its label; a finding without one has the class's name as a code of the private scheme 99MEDJAX. Both
        are said with each prediction.
      categories: the category of the segments of a class in the same form, such as
        `('49755003', 'SCT', 'Morphologically Abnormal Structure')`; Tissue by default.
      objects: some of 'seg' (a binary segmentation), 'fractional' (one of probabilities), 'labelmap' (one with a number
        for each pixel, which older archives refuse), 'rtstruct' (contours), 'sr' (a report with measurements, classes
        or boxes) and 'derived' (an image that was computed from the input); by default 'seg' and 'sr' of labels, 'sr'
        of classes and boxes, 'derived' of images.
      lesions: classes whose connected parts are lesions: the report has the longest axial diameter and the short axis
        of each one, as RECIST 1.1 measures them.
    """

    codes: Mapping[str, Code] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, Code] = dataclasses.field(default_factory=dict)
    objects: Sequence[str] = ()
    lesions: Sequence[str] = ()

    def __post_init__(self):
        for name in ('codes', 'categories'):
            for of, code in getattr(self, name).items():
                check_code(code, f'config.dicom.{name}.{of}')
        unknown = [name for name in self.objects if name not in OBJECTS]
        if unknown or len(set(self.objects)) < len(self.objects):
            raise InputError(f'config.dicom.objects: {", ".join(self.objects)}; expected different ones of '
                             f'{", ".join(OBJECTS)}')

    def check_classes(self, classes: Sequence[str]) -> None:
        """Checks that all classes that are named exist.

        Raises:
          InputError: with one that does not.
        """
        for name in ('codes', 'categories', 'lesions'):
            for of in getattr(self, name):
                if of not in classes:
                    raise InputError(f'config.dicom.{name}: {of!r} is no class; expected some of {", ".join(classes)}')

    def of_family(self, finds: str, family: str) -> tuple[str, ...]:
        """The objects of a family that gives one part of the findings.

        Raises:
          InputError: the family has none, or not one of those that are asked for.
        """
        possible = [name for name, parts in OBJECTS.items() if finds in parts]
        if not possible:
            raise InputError(f'--dicom: runs of {family} predict no parts, classes or boxes of an image; expected a '
                             'run of segmentation, classification, detection, translation or registration')
        for name in self.objects:
            if name not in possible:
                raise InputError(f'config.dicom.objects: {name!r}; expected some of {", ".join(possible)} for a run of '
                                 f'{family}')
        chosen = tuple(self.objects) or DEFAULT[finds]
        if finds == 'labels' and 'sr' in chosen and not {*SEGMENTATIONS} & {*chosen}:
            raise InputError("config.dicom.objects: 'sr' without a segmentation that its volumes are measured in; "
                             f'expected one of {", ".join(SEGMENTATIONS)} beside it')
        return chosen


def check_code(code: Code, where: str) -> None:
    """Checks that a code has value, scheme and meaning, each of a valid length.

    Raises:
      InputError: it has not.
    """
    good = (not isinstance(code, str) and isinstance(code, Sequence) and len(code) == 3
            and all(isinstance(part, str) and part.strip() and '\\' not in part and len(part) <= most
                    for part, most in zip(code, LONGEST.values())))
    if not good:
        raise InputError(f"{where}: {code!r}; expected (value, scheme, meaning) of at most 16, 16 and 64 characters, "
                         "such as ('10200004', 'SCT', 'Liver')")
