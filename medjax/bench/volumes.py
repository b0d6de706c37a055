"""Work on volumes on the host: reading them onto the network's grid, and metrics of predictions."""

import itertools
import pathlib
import tempfile
from typing import Any

import numpy as np

from medjax.bench.side import Side

SPACING = (1.5, 1.5, 1.5)
CLASSES = 5


def blobs(size: int, seed: int) -> np.ndarray:
    """A smooth label with a background and four classes, `[X, Y, Z]` uint8."""
    from scipy import ndimage
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size,) * 3), size / 16)
    return np.digitize(field, np.quantile(field, (0.6, 0.75, 0.85, 0.93))).astype(np.uint8)


def prediction_pairs(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of prediction and truth that mostly agree."""
    return [(blobs(size, n), np.roll(blobs(size, n), (2, 1, 3), (0, 1, 2))) for n in range(count)]


def medjax_metrics(count: int, size: int, area: bool) -> Side:
    """medjax: Dice, HD95 and NSD of each class, as in `tasks.segmentation.evaluator`."""
    from medjax.tasks.segmentation import mask_metrics
    cases, names = prediction_pairs(count, size), tuple(map(str, range(CLASSES)))

    def run() -> list[dict[str, float]]:
        return [mask_metrics.case_metrics(p, t, (1.0, 1.0, 1.0), names, surfaces='area' if area else 'voxels')
                for p, t in cases]

    return Side(run, settings='also computes IoU, sensitivity, precision, ASSD and volume error')


def monai_metrics(count: int, size: int) -> Side:
    """MONAI: the same three metrics."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
    from monai.networks.utils import one_hot
    cases = [tuple(torch.from_numpy(x.astype(np.int64))[None, None] for x in pair)
             for pair in prediction_pairs(count, size)]

    def run() -> list[Any]:
        out = []
        for pair in cases:
            p, t = (one_hot(x, CLASSES) for x in pair)
            out.append((compute_dice(p, t, include_background=False),
                        compute_hausdorff_distance(p, t, include_background=False, percentile=95, spacing=1.0),
                        compute_surface_dice(p, t, [1.0] * (CLASSES - 1), spacing=1.0)))
        return out

    return Side(run, settings='case by case')


def surface_distance_metrics(count: int, size: int) -> Side:
    """DeepMind's surface-distance: the same three metrics."""
    import surface_distance as sd
    cases = prediction_pairs(count, size)

    def run() -> list[Any]:
        out = []
        for p, t in cases:
            for number in range(1, CLASSES):
                distances = sd.compute_surface_distances(t == number, p == number, (1.0, 1.0, 1.0))
                out.append((sd.compute_dice_coefficient(t == number, p == number),
                            sd.compute_robust_hausdorff(distances, 95),
                            sd.compute_surface_dice_at_tolerance(distances, 1.0)))
        return out

    return Side(run)


def write_files(folder: pathlib.Path, count: int) -> None:
    """Writes CT-like volumes and labels as `.nii.gz`, with axes that are not in RAS order and anisotropic voxels."""
    import nibabel as nib
    affine = np.array([[0, -0.9, 0, 100], [-0.9, 0, 0, 100], [0, 0, 2.5, -50], [0, 0, 0, 1.0]])
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for number in range(count):
        label = blobs(128, number)[:, :, ::2]
        noise = np.random.default_rng(number).normal(0, 20, label.shape)
        for name, array in (('images', (label * 100 + noise).astype(np.int16)), ('labels', label)):
            nib.save(nib.Nifti1Image(array, affine), folder / name / f'case{number:02d}.nii.gz')


def medjax_read(count: int) -> Side:
    """medjax: from a folder of files to memory-mapped arrays on the network's grid, by `data.datasets.volumes`."""
    from medjax.data.datasets import volumes
    from medjax.data.sources import segmentation_folder as folder
    from medjax.data.splits import Splitting
    root = pathlib.Path(tempfile.mkdtemp())
    write_files(root, count)
    numbers = itertools.count()

    def run() -> Any:
        source = folder.source(classes=tuple(map(str, range(CLASSES))), dir=str(root),
                               splitting=Splitting(val=0.0, test=0.0))
        return volumes.dataset(source, patch=(32, 32, 32), spacing=SPACING, crop=False,
                               cache=str(root / f'cache{next(numbers)}'))

    return Side(run, settings='also hashes the files, checks for finite values and lists class positions')


def monai_read(count: int, workers: int) -> Side:
    """MONAI: the same by its transforms, into its cache of arrays in memory."""
    import torch
    from monai import transforms as t
    from monai.data import CacheDataset
    if workers:
        torch.set_num_threads(1)
    root = pathlib.Path(tempfile.mkdtemp())
    write_files(root, count)
    both = ['image', 'label']
    transform = t.Compose([t.LoadImaged(both), t.EnsureChannelFirstd(both), t.Orientationd(both, axcodes='RAS'),
                           t.Spacingd(both, pixdim=SPACING, mode=('bilinear', 'nearest'))])
    pairs = zip(sorted((root / 'images').iterdir()), sorted((root / 'labels').iterdir()))
    files = [{'image': str(image), 'label': str(label)} for image, label in pairs]

    def run() -> Any:
        return CacheDataset(files, transform, num_workers=workers, progress=False)

    return Side(run, settings=f'CacheDataset, {workers} threads; labels by nearest neighbour')


def torchio_read(count: int) -> Side:
    """TorchIO: the same, kept in memory."""
    import torchio as tio
    root = pathlib.Path(tempfile.mkdtemp())
    write_files(root, count)
    transform = tio.Compose([tio.ToCanonical(), tio.Resample(SPACING)])
    paths = list(zip(sorted((root / 'images').iterdir()), sorted((root / 'labels').iterdir())))

    def run() -> Any:
        return [transform(tio.Subject(image=tio.ScalarImage(i), label=tio.LabelMap(s))) for i, s in paths]

    return Side(run, settings='labels by nearest neighbour')
