"""A data set in the Brain Imaging Data Structure (Gorgolewski 2016): images of a BIDS tree, labels of a derivative.

    study/
      dataset_description.json  participants.tsv
      sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz
      derivatives/manual/dataset_description.json
      derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_desc-lesion_mask.nii.gz

Files are found by pybids, by their suffix and entities. A case is a session of a subject, or a subject without
sessions.
"""

import functools
import importlib.util
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax.data.io import channel_files, data_paths
from medjax.data.io.geometry import Image, check_pair
from medjax.data.io.label_codes import LabelCode
from medjax.data.io.tables import read_table
from medjax.data.source import Case, Source, data_dir
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError, few
from medjax.options import NonNegativeInt

EXTENSIONS = ['.nii', '.nii.gz']


def source(*, dir: str, classes: Sequence[str], derivative: str, suffixes: Sequence[str] = ('T1w',),
           entities: Mapping[str, str] | None = None, label_suffix: str = 'dseg',
           label_entities: Mapping[str, str] | None = None, label_values: Sequence[NonNegativeInt] | None = None,
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A segmentation source of a BIDS tree.

    Args:
      dir: the folder with `dataset_description.json`; see `data_dir`.
      classes: names, background first; labels hold their numbers unless label_values are given.
      derivative: the folder of the labels within dir, such as 'derivatives/manual', with a `dataset_description.json`
        of its own.
      suffixes: of the images, each a channel, such as ('T1w', 'FLAIR').
      entities: that images have, by pybids' names, such as dict(acquisition='mprage').
      label_suffix: of the labels, such as 'dseg' or 'mask'.
      label_entities: that labels have, such as dict(desc='lesion').
      label_values: the label value of each class.
      splitting: how subjects are assigned to splits.
      notice: text on the data for the report.

    Returns:
      A source with the columns of `participants.tsv`.

    Raises:
      InputError: pybids is not installed; no BIDS tree; a session without, or with several, of the files. Images and
        labels are checked case by case.
    """
    root = data_dir(dir)
    layout, folder = _layout(root), data_paths.inside(root, derivative, f'{KEYS}.derivative:')
    labels = _by_session(_layout(folder, derived=True).get(suffix=label_suffix, extension=EXTENSIONS,
                                                           **label_entities or {}), 'label_entities')
    images = {suffix: _by_session(layout.get(scope='raw', suffix=suffix, extension=EXTENSIONS, **entities or {}),
                                  'entities') for suffix in suffixes}
    sessions = sorted(set().union(*images.values()))
    if not sessions:
        raise InputError(f'{root}: no image with the suffixes {", ".join(suffixes)} and the entities {entities or {}}; '
                         'expected some')
    _check_complete(sessions, images, labels, label_suffix, folder)
    code = LabelCode(tuple(classes), None if label_values is None else tuple(label_values))
    split = splitting.divide([{'patient': f'sub-{subject}'} for subject, _ in sessions], root, root)
    people, cases = _participants(root), []
    for subject, session in sessions:
        paths = [images[suffix][subject, session] for suffix in suffixes]
        label, patient = labels[subject, session], f'sub-{subject}'
        cases.append(Case(
            id=f'{patient}_ses-{session}' if session else patient, patient=patient, split=split[patient],
            read=functools.partial(_pair, paths, label, tuple(suffixes), code), how=f'bids {list(suffixes)} {code}',
            files=(*paths, label), columns=people.get(patient, {})))
    return Source(cases=tuple(cases), classes=code.classes, notice=notice, channels=tuple(suffixes),
                  warnings=_left_out(labels, sessions))


def image_reader(*, suffixes: Sequence[str] = ('T1w',), **_: Any) -> Callable[[str | pathlib.Path], Image]:
    """A function that reads a new image of one channel as the cases' images are read.

    Args:
      suffixes: the channels.
      **_: further options of the source, which are ignored.
    """
    return lambda path: channel_files.read([path], tuple(suffixes))


def _layout(root: pathlib.Path, derived: bool = False) -> Any:
    """pybids' index of a tree."""
    if importlib.util.find_spec('bids') is None:
        raise InputError(f"{KEYS}: the package pybids is not installed; expected it: pip install pybids, or medjax "
                         "with its extra: pip install --editable '.[bids]'")
    import bids
    if not (root / 'dataset_description.json').is_file():
        raise InputError(f'{root}: no dataset_description.json; expected a BIDS data set{" or derivative" * derived}')
    try:
        return bids.BIDSLayout(root, validate=not derived, is_derivative=derived)
    except Exception as error:  # pybids raises exceptions of many types
        raise InputError(f'{root}: {" ".join(str(error).split())[:200]}; expected a BIDS data set') from error


def _by_session(files: Sequence[Any], key: str) -> dict[tuple[str, str], str]:
    """Paths by subject and session, '' for none."""
    out: dict[tuple[str, str], str] = {}
    for file in files:
        entities = file.get_entities()
        place = entities['subject'], entities.get('session', '')
        if place in out:
            raise InputError(f'{file.path}: a second file beside {pathlib.Path(out[place]).name}; expected one for '
                             f'each session: name more of {KEYS}.{key}')
        out[place] = str(file.path)
    return out


def _check_complete(sessions: Sequence[tuple[str, str]], images: Mapping[str, Mapping[tuple[str, str], str]],
                    labels: Mapping[tuple[str, str], str], suffix: str, folder: pathlib.Path) -> None:
    """Refuses sessions without a label, or without one of the channels."""
    for kind, found in (*images.items(), (f'label {suffix!r} in {folder}', labels)):
        missing = [f'sub-{subject}' + (f' ses-{session}' if session else '') for subject, session in sessions
                   if (subject, session) not in found]
        if missing:
            raise InputError(f'{KEYS}: no {kind} for {few(missing)} ({len(missing)} of {len(sessions)}); expected one '
                             'for each session')


def _left_out(labels: Mapping[tuple[str, str], str], sessions: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """A line on labels without images."""
    lone = sorted(set(labels) - set(sessions))
    names = few([f'sub-{subject}' for subject, _ in lone])
    return (f'Left out, without images: {len(lone)} labels ({names}).',) if lone else ()


def _participants(root: pathlib.Path) -> dict[str, dict[str, str]]:
    """The columns of `participants.tsv` by participant_id; empty where there is no such file."""
    path = root / 'participants.tsv'
    if not path.is_file():
        return {}
    rows, columns = read_table(path)
    if 'participant_id' not in columns:
        raise InputError(f'{path}: no column participant_id; expected it, as in BIDS')
    return {row['participant_id']: {name: value or '' for name, value in row.items() if name != 'participant_id'}
            for row in rows}


def _pair(paths: Sequence[str], label_path: str, channels: tuple[str, ...], code: LabelCode) -> tuple[Image, Image]:
    """A case and its label as class numbers, on one grid."""
    image, label = channel_files.read(paths, channels), code.read(label_path)
    check_pair(image, label)
    return image, Image(label.array, image.affine, label.path)
