"""Own pairs of images, as a CSV table or named one by one: which is to be brought onto which.

    fixed,moving,fixed_label,moving_label,points,patient,split
    p01_exhale.nii.gz,p01_inhale.nii.gz,,,p01_points.csv,p01,train

Only `fixed` and `moving` are needed. Labels are numbers of the classes. `points` is a CSV table of places that a reader
found in both: columns x, y, z in the fixed image's world and to_x, to_y, to_z in the moving one's, mm, RAS+.
"""

import functools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medjax.data.datasets.registration import Pair, check
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, canonical
from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import SPLITS, Case, Source, data_dir
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError

FILES = ('fixed', 'moving', 'fixed_label', 'moving_label', 'points')
PLACES = ('x', 'y', 'z', 'to_x', 'to_y', 'to_z')
TISSUES = ('background', 'dark', 'middle', 'bright')
BY_INTENSITY = ('Labels are three groups of each image\'s own intensities (k-means): no reader saw them, and an uneven '
                'sensitivity shifts their borders.')


def source(*, table: str = '', pairs: Sequence[Sequence[str]] = (), dir: str = '', classes: Sequence[str] = (),
           tissues: bool = False, val: float = 0.0, test: float = 0.3, fold: int | Sequence[int] = 0,
           folds: int | Sequence[int] = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           split_file: str = '', notice: str = '') -> Source:
    """Reads a list of pairs.

    Args:
      table: a CSV file within dir.
      pairs: in its place: fixed and moving file, and at will the split, of each pair.
      dir: folder of the files; see `source.data_dir`.
      classes: of the labels, the background's first; only that by default.
      tissues: make three classes of each image's intensities where there are no labels.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed. A patient is who the table says, or
        else the fixed image.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name; a column of the table says it as well.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a table, file or cell that is not such.
    """
    root = data_dir(dir)
    if bool(table) == bool(pairs):
        raise InputError(f'{KEYS}: table={table!r}, pairs={len(pairs)}; expected one of them')
    if any(len(pair) not in (2, 3) or not all(str(name).strip() for name in pair[:2]) for pair in pairs):
        raise InputError(f'{KEYS}.pairs: expected fixed, moving and at will the split, of each pair')
    path = root / (table or 'pairs')
    rows = listed(path) if table else [dict(zip(('fixed', 'moving', 'split'), pair)) for pair in pairs]
    called = filenames(row[name] for row in rows for name in ('fixed', 'moving'))
    rows = [{**row, 'patient': row.get('patient') or called[row['fixed']]} for row in rows]
    if pairs and all(row.get('split') for row in rows):  # one image may be in pairs of several splits: as it is said
        split = [row['split'] for row in rows]
        wrong = [part for part in split if part not in SPLITS]
        if wrong:
            raise InputError(f'{KEYS}.pairs: split {wrong[0]!r}; expected one of: {", ".join(SPLITS)}')
    else:
        found = divide(rows, path, dict(splits or {}), root / split_file if split_file else None, val=val, test=test,
                       fold=fold, folds=folds, seed=split_seed)
        split = [found[row['patient']] for row in rows]
    names = TISSUES if tissues and not classes else tuple(classes) or ('background',)
    made = tuple(Case(
        id=named(row, called), patient=row['patient'], split=part, read=functools.partial(read, row, root, tissues),
        files=tuple(str(root / row[name]) for name in FILES if row.get(name))) for row, part in zip(rows, split))
    return Source(cases=made, classes=names, problem='registration', notice=' '.join(filter(None, [
        notice, BY_INTENSITY if tissues else ''])))


def listed(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a table of pairs."""
    rows, there = read_table(path)
    check_columns(path, there, ('fixed', 'moving'))
    if not rows:
        raise InputError(f'{path}: no rows; expected pairs')
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        for name in ('fixed', 'moving'):
            if not row[name].strip():
                raise InputError(f'{path}: row {number}: no {name} image; expected both of a pair')
    return [{key: value.strip() for key, value in row.items()} for row in rows]


def filenames(paths: Iterable[str]) -> dict[str, str]:
    """What files are called by: their names without the ending; where two have the same, with their folders' before it.

    Raises:
      InputError: that does not tell them apart.
    """
    found = {path: (*pathlib.PurePath(path).parts[:-1], image_files.stem(pathlib.Path(path))) for path in paths}
    shared = len(os.path.commonprefix([of[:-1] for of in found.values()]))
    for first in (-1, shared):
        out = {path: '_'.join(of[first:]) for path, of in found.items()}
        if len({*out.values()}) == len(out):
            return out
    twice = [path for path, name in out.items() if [*out.values()].count(name) > 1]
    raise InputError(f'{", ".join(twice[:2])}: both would be called {out[twice[0]]}; expected file names that tell '
                     'images apart')


def named(row: Mapping[str, str], called: Mapping[str, str]) -> str:
    """What a pair is called by; see `filenames`."""
    return f'{called[row["moving"]]}_to_{called[row["fixed"]]}'


def read(row: Mapping[str, str], root: pathlib.Path, tissues: bool = False) -> Pair:
    """Reads a pair; every image is brought to RAS+ order.

    Args:
      row: of the table.
      root: folder of its files.
      tissues: see `source`.

    Raises:
      InputError: as `pairs.check`, and `nifti.read`.
    """
    found = {name: canonical(_single(image_files.read(root / row[name], indices=name.endswith('label'))))
             for name in FILES[:4] if row.get(name)}
    for name in ('fixed', 'moving'):
        if tissues and f'{name}_label' not in found:
            found[f'{name}_label'] = grouped(found[name])
    pair = Pair(**found)
    if row.get('points'):
        pair = pair._replace(**_points(root / row['points'], pair))
    check(pair, named(row, filenames([row['fixed'], row['moving']])))
    return pair


def _single(image: Image) -> Image:
    """An image of one channel, colours averaged."""
    return Image(image.array.mean(-1), image.affine, image.path) if image.array.ndim == 4 else image


def grouped(image: Image) -> Image:
    """Three groups of an image's intensities above the least, by k-means, numbered from dark to bright from 1."""
    from sklearn.cluster import KMeans  # slow to import

    image_files.check_finite(image)
    there = image.array > image.array.min()
    label = np.zeros(image.array.shape, np.uint8)
    values = image.array[there].astype(np.float64)
    if len(np.unique(values)) >= 3:
        found = KMeans(3, init=np.quantile(values, [1 / 6, 1 / 2, 5 / 6])[:, None], n_init=1).fit(values[:, None])
        label[there] = found.cluster_centers_[:, 0].argsort().argsort()[found.labels_] + 1
    return Image(label, image.affine, image.path)


def _points(path: pathlib.Path, pair: Pair) -> dict[str, np.ndarray]:
    """Points and targets `[P, 3]`, voxels of their images."""
    rows, there = read_table(path)
    check_columns(path, there, PLACES)
    out = np.empty((len(rows), 6))
    for number, row in enumerate(rows):
        for place, name in enumerate(PLACES):
            try:
                out[number, place] = float(row[name])
            except (TypeError, ValueError):
                raise InputError(f'{path}: row {number + 2}: {name}: {row[name]!r}; expected a number of mm') from None
    both = [np.linalg.inv(image.affine) for image in (pair.fixed, pair.moving)]
    parts = [out[:, 3 * k:3 * k + 3] @ back[:3, :3].T + back[:3, 3] for k, back in enumerate(both)]
    return {'points': parts[0], 'targets': parts[1]}
