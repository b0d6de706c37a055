"""Pairs of images to register, from a CSV table or a list in the config.

    fixed,moving,fixed_label,moving_label,points,patient,split
    p01_exhale.nii.gz,p01_inhale.nii.gz,,,p01_points.csv,p01,train

Only `fixed` and `moving` are required. A moving image of another size or spacing than the fixed one is resampled onto
the grid of the fixed one, by the positions in mm of both files. Labels hold class numbers. `points` is a CSV table of
corresponding landmarks: columns x, y, z in the world of the fixed image and to_x, to_y, to_z in that of the moving one,
in mm, RAS+. PNG, JPEG and other pictures have no pixel size: their positions are columns and rows, and all distances
are in pixels.
"""

import functools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medjax.data.datasets.registration import Pair, check_image_pair, equal_steps
from medjax.data.io import data_paths, image_files, image_folders, raster
from medjax.data.io.geometry import Image, check_pair, resample_onto, to_canonical
from medjax.data.io.tables import check_columns, check_near_names, filled, parse_number, read_table
from medjax.data.source import NAMED_SPLITS, Case, Source, data_dir
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

FILES = ('fixed', 'moving', 'fixed_label', 'moving_label', 'points')
PLACES = ('x', 'y', 'z', 'to_x', 'to_y', 'to_z')
TISSUES = ('background', 'dark', 'middle', 'bright')
BY_INTENSITY = ('Labels are three groups of each image\'s own intensities (k-means): they were not drawn by a reader, '
                'and an uneven sensitivity shifts their borders.')


def source(*, table: str = '', pairs: Sequence[Sequence[str]] = (), dir: str = '', classes: Sequence[str] = (),
           tissue_labels: bool = False, splitting: Splitting = Splitting(val=0.0, test=0.3),
           notice: str = '') -> Source:
    """A registration source from a list of pairs.

    Args:
      table: a CSV file within dir.
      pairs: fixed file, moving file and optionally the split of each pair, in place of a table.
      dir: folder of the files; see `source.data_dir`.
      classes: of the labels, background first; by default the background alone.
      tissue_labels: where an image has no label, derive three classes from its intensities.
      splitting: how patients are assigned to splits. The patient is that of the table, or else the fixed image.
      notice: text on the data for the report.

    Raises:
      InputError: a table, file or cell that is not valid.
    """
    root = data_dir(dir)
    if bool(table) == bool(pairs):
        raise InputError(f'{KEYS}: table={table!r}, pairs={len(pairs)}; expected one of them')
    if any(len(pair) not in (2, 3) or not all(str(name).strip() for name in pair[:2]) for pair in pairs):
        raise InputError(f'{KEYS}.pairs: expected fixed, moving and optionally the split, of each pair')
    path = root / (table or 'pairs')
    rows = read_pairs(path, root) if table else [dict(zip(('fixed', 'moving', 'split'), pair)) for pair in pairs]
    names = unique_names(row[name] for row in rows for name in ('fixed', 'moving'))
    known = any(row.get('patient') for row in rows)
    rows = [{**row, 'patient': row.get('patient') or names[row['fixed']]} for row in rows]
    if pairs and all(row.get('split') for row in rows):
        # One image may be in pairs of several splits: the splits in the config are taken as they are.
        split = [row['split'] for row in rows]
        wrong = [part for part in split if part not in NAMED_SPLITS]
        if wrong:
            raise InputError(f'{KEYS}.pairs: split {wrong[0]!r}; expected one of: {", ".join(NAMED_SPLITS)}')
        if splitting.calibrate:
            raise InputError(f'{KEYS}.calibrate: {splitting.calibrate}; expected 0 where each pair has its split')
    else:
        by_patient = splitting.divide(rows, path, root)
        split = [by_patient[row['patient']] for row in rows]
    classes = tuple(classes) or (TISSUES if tissue_labels else ('background',))
    cases = tuple(Case(
        id=pair_name(row, names), patient=row['patient'], split=part,
        read=functools.partial(read_pair, row, root, tissue_labels),
        files=tuple(str(root / row[name]) for name in FILES if row.get(name))) for row, part in zip(rows, split))
    if tissue_labels:
        notice = f'{notice} {BY_INTENSITY}'.strip()
    grid = image_folders.grid([str(root / row[name]) for row in rows for name in ('fixed', 'moving')], None,
                              'volumes alone, or 2D images alone')
    return Source(cases=cases, classes=classes, problem='registration', least_classes=1, notice=notice, grid=grid,
                  analysis_unit='patient' if known else 'fixed image')


def read_pairs(path: pathlib.Path, root: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a table of pairs, whose files are within the folder `root`.

    Raises:
      InputError: no table, no rows, a row without a fixed or a moving image, or a file outside of the folder.
    """
    rows, columns = read_table(path)
    check_columns(path, columns, ('fixed', 'moving'))
    check_near_names(path, columns, (*FILES, 'patient', 'split'))
    if not rows:
        raise InputError(f'{path}: no rows; expected pairs')
    rows = [{name: filled(cell) for name, cell in row.items()} for row in rows]
    for number, row in enumerate(rows, 2):
        for name in ('fixed', 'moving'):
            if not row[name]:
                raise InputError(f'{path}: row {number}: no {name} image; expected both of a pair')
        for name in FILES:
            data_paths.inside(root, row.get(name, ''), f'{path}: row {number}: {name}')
    return rows


def unique_names(paths: Iterable[str]) -> dict[str, str]:
    """A unique name for each path: the file name without suffix, with the names of its folders where two are the same.

    Raises:
      InputError: the names are still the same.
    """
    parts = {path: (*pathlib.PurePath(path).parts[:-1], image_files.stem(pathlib.Path(path))) for path in paths}
    shared = len(os.path.commonprefix([path_parts[:-1] for path_parts in parts.values()]))
    for first in (-1, shared):
        out = {path: '_'.join(path_parts[first:]) for path, path_parts in parts.items()}
        if len({*out.values()}) == len(out):
            return out
    same = [path for path, name in out.items() if [*out.values()].count(name) > 1]
    raise InputError(f'{", ".join(same[:2])}: the name of both would be {out[same[0]]}; expected different file names')


def pair_name(row: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The name of a pair, from those of its images by `unique_names`."""
    return f'{names[row["moving"]]}_to_{names[row["fixed"]]}'


def read_pair(row: Mapping[str, str], root: pathlib.Path, tissue_labels: bool = False) -> Pair:
    """The images, labels and landmarks of a pair, in RAS+ order.

    Args:
      row: of the table.
      root: folder of its files.
      tissue_labels: see `source`.

    Raises:
      InputError: as `datasets.registration.check_image_pair` and `image_files.read`.
    """
    images = {name: to_canonical(_single_channel(image_files.read(root / row[name], indices=name.endswith('label'))))
              for name in FILES[:4] if row.get(name)}
    images |= {name: image_files.whole_numbers(image) for name, image in images.items() if name.endswith('label')}
    for name in ('fixed', 'moving'):
        if tissue_labels and f'{name}_label' not in images:
            images[f'{name}_label'] = intensity_classes(images[name])
    pair = _on_one_grid(Pair(**images))
    if row.get('points'):
        pair = pair._replace(**_landmarks(root / row['points'], pair))
    check_image_pair(pair, pair_name(row, unique_names([row['fixed'], row['moving']])))
    return pair


def _on_one_grid(pair: Pair) -> Pair:
    """A pair whose moving image and its labels, where their size or spacing differs, are on the fixed image's grid."""
    files = [pathlib.Path(image.path) for image in (pair.fixed, pair.moving)]
    if equal_steps(pair.fixed, pair.moving) or any(image_files.suffix(file) in raster.SUFFIXES for file in files):
        return pair  # a 2D picture has no position in mm; `check_image_pair` reports another size
    label = pair.moving_label
    if label is not None:
        check_pair(pair.moving, label)
        label = resample_onto(label, pair.fixed, 'label')
    image_files.check_finite(pair.moving)
    return pair._replace(moving=resample_onto(pair.moving, pair.fixed, 'linear'), moving_label=label, resampled=True)


def _single_channel(image: Image) -> Image:
    """An image of one channel; the mean of several."""
    return Image(image.array.mean(-1), image.affine, image.path) if image.array.ndim == 4 else image


def intensity_classes(image: Image) -> Image:
    """Three classes of an image's intensities above the minimum, by k-means, numbered from dark to bright from 1."""
    from sklearn.cluster import KMeans  # slow to import

    image_files.check_finite(image)
    foreground = image.array > image.array.min()
    label = np.zeros(image.array.shape, np.uint8)
    values = image.array[foreground].astype(np.float64)
    if len(np.unique(values)) >= 3:
        clusters = KMeans(3, init=np.quantile(values, [1 / 6, 1 / 2, 5 / 6])[:, None], n_init=1).fit(values[:, None])
        label[foreground] = clusters.cluster_centers_[:, 0].argsort().argsort()[clusters.labels_] + 1
    return Image(label, image.affine, image.path)


def _landmarks(path: pathlib.Path, pair: Pair) -> dict[str, np.ndarray]:
    """Points of the fixed image and their targets in the moving one, each `[P, 3]` in voxels of its image."""
    rows, columns = read_table(path)
    check_columns(path, columns, PLACES)
    world = np.empty((len(rows), 6))
    for number, row in enumerate(rows):
        for place, name in enumerate(PLACES):
            value = parse_number(row[name])
            if value is None:
                raise InputError(f'{path}: row {number + 2}: {name}: {row[name]!r}; expected a number of mm')
            world[number, place] = value
    inverses = [np.linalg.inv(image.affine) for image in (pair.fixed, pair.moving)]
    points, targets = (world[:, 3 * k:3 * k + 3] @ inverse[:3, :3].T + inverse[:3, 3]
                       for k, inverse in enumerate(inverses))
    return {'points': points, 'targets': targets}
