"""Workdirs like those that a run leaves, of small simulated cases whose errors are known."""

import csv
import dataclasses
import pathlib

import numpy as np

from medjax import atomic_files
from medjax.core import log
from medjax.data.io.geometry import Image
from medjax.statistics import per_patient
from medjax.tasks.segmentation import mask_metrics
from medjax.tasks.segmentation.snapshot import save as save_snapshot

CLASSES = ('background', 'organ', 'lesion')
NOTICE = 'Simulated: ellipsoids with noise, no patients.'
COMMAND = 'python -m medjax.train --config=configs/simulated.py:smoke --workdir=runs/simulated'
SPACING = (1.0, 1.5, 3.0)
METRICS = ('dice_mean', *(f'{metric}_{name}' for name in CLASSES[1:] for metric in (
    'dice', 'iou', 'sensitivity', 'precision', 'hd95', 'assd', 'nsd', 'volume_error_ml', 'lesion_f1')))


@dataclasses.dataclass(frozen=True)
class Case:
    """A simulated case: how far the prediction is shifted, and whether truth and prediction have the lesion."""

    id: str
    patient: str
    shift: int = 0
    lesion: bool = True
    found: bool = True
    split: str = 'test'


# Two examinations of p1; a missed and a spurious lesion; the worst case is p4's, the best one p1's first.
MANY = (Case('p1_first', 'p1'), Case('p1_second', 'p1', 3), Case('p2', 'p2', 1), Case('p3', 'p3', 2),
        Case('p4', 'p4', 4, found=False), Case('p5', 'p5', 2, lesion=False), Case('<b>p6&', 'p6', 1),
        Case('p7', 'p7', 0, split='val'), Case('p8', 'p8', 1, split='val'))
ONE = (Case('only', 'p1', 1), Case('held', 'p2', 0, split='val'))
PHOTOGRAPHS = tuple(Case(f'mole_{number}', f'p{number}', number) for number in range(4))


def ball(shape, centre, radii):
    """A filled ellipsoid, bool."""
    grid = np.indices(shape).T
    return ((((grid - centre) / radii) ** 2).sum(-1) <= 1).T


def simulated_case(case, shape, seed):
    """Image, truth and prediction `[X, Y, Z]`, and the probability of the predicted class."""
    rng = np.random.default_rng(seed)
    middle, radii = np.array(shape) / 2, np.maximum(np.array(shape) * 0.33, 1)
    def label(shift, lesion):
        out = ball(shape, middle + (shift, 0, 0), radii).astype(np.uint8)
        spot = ball(shape, middle + (shift + radii[0] / 2, radii[1] / 3, 0), np.maximum(radii / 4, 1))
        out[spot & lesion] = 2
        return out
    truth, pred = label(0, case.lesion), label(case.shift, case.found)
    image = 20 * ball(shape, middle, radii * 1.3) + 60 * (truth > 0) + 60 * (truth == 2)
    sure = np.where(truth == pred, 0.97, 0.7) - 0.1 * rng.random(shape)
    return image + rng.normal(0, 4, shape), truth, pred, sure


def make(folder, cases, *, flat=False, best='dice_mean', extra=None):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    folder, rows = pathlib.Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    shape, spacing = ((60, 40, 1), (1.0, 1.0, 1.0)) if flat else ((40, 32, 14), SPACING)
    for seed, case in enumerate(cases):
        image, truth, pred, sure = simulated_case(case, shape, seed)
        path = folder / 'cases' / case.split / f'{case.id}.npz'
        save_snapshot(path, Image(image, np.diag([*spacing, 1.0])), truth, pred, sure,
                      np.eye(len(CLASSES), dtype=bool)[1:])
        measured = mask_metrics.case_metrics(pred, truth, spacing, CLASSES)
        dice = [measured[f'dice_{name}'] for name in CLASSES[1:]]
        rows.append({'split': case.split, 'id': case.id, 'patient': case.patient,
                     'dice_mean': float(np.nanmean(dice)), **measured})
    write_table(folder / 'predictions.csv', rows)
    results = {split: per_patient.summarise([row for row in rows if row['split'] == split], METRICS)
               for split in dict.fromkeys(case.split for case in cases)}
    counts = {'train': 12, **{split: sum(case.split == split for case in cases) for split in results}}
    atomic_files.write_json(folder / 'results.json', {**results, 'step': 40, 'counts': counts, 'classes': CLASSES,
                                             'notice': NOTICE, 'conventions': mask_metrics.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 3, 'steps': 60, 'batch': 4, 'model': {'name': 'unet', 'variant': 'nnunet', 'dims': 2 + (not flat)},
        'data': {'name': 'volumes', 'source': {'name': 'simulated_images'}, 'intensity': {'name': 'zscore'}},
        'evaluate': {'name': 'segmentation', 'tolerance_mm': 2.0}, 'checkpoint': {'best': best}})
    atomic_files.write_json(folder / 'environment.json', {
        'versions': {'medjax': '0.1.0', 'jax': '0.10.2'}, 'devices': ['gpu:H'] * 4, 'hosts': 1, 'cores': 8,
        'platform': 'Linux', 'git_commit': 'c0ffee', 'git_dirty': True, 'command': COMMAND, 'seed': 3,
        'parameters': 1234567, 'data_hash': 'da7a', 'split_hash': '5b117', 'train_time_s': 3725.4,
        'wall_time_s': 3781.0, 'peak_memory_mb': 1575.2, **(extra or {})})
    write_metrics(folder)
    write_augmented(folder, flat)
    return folder


def write_table(path, rows):
    """The table of cases as an evaluation writes it: an empty cell for NaN."""
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: '' if v != v else v for k, v in row.items()} for row in rows)


def write_metrics(folder):
    """60 steps of training, validated at 20, 40 and 60; 40 was best."""
    writer = log.Writer(folder, 0)
    for step in range(5, 65, 5):
        values = {'train/loss': 2 / step, 'train/grad_norm': 1 / step, 'lr': 1e-3 * (1 - step / 60)}
        if step % 20 == 0:
            score = {20: 0.6, 40: 0.8, 60: 0.75}[step]
            values |= {'val/dice_mean': score, 'val/dice_organ': score + 0.1, 'val/dice_lesion': score - 0.1}
        writer.write(step, values)
    writer.close()


def write_augmented(folder, flat):
    """Patches as read and, mirrored, as trained on."""
    shape = (24, 20) if flat else (24, 20, 6)
    image, truth, _, _ = simulated_case(Case('a', 'p0'), shape + (1,) * flat, 0)
    image, truth = (array.reshape(1, *shape).repeat(3, 0) for array in (image, truth))
    np.savez_compressed(folder / 'augmented.npz', original=image, image=image[:, ::-1], label=truth[:, ::-1])
