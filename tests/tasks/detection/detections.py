"""Simulated workdirs of detection runs: images of cells, or volumes of nodules, with an average detector's boxes."""

import json
import pathlib

import numpy as np

from medjax import atomic_files
from medjax.core import log
from medjax.tasks.detection import summary
from tests.report.runs import write_table

NOTICE = 'Simulated data: discs on noise, no patients.'
COMMAND = 'python -m medjax.train --config=configs/simulated_retinanet.py --workdir=runs/simulated_retinanet'
KINDS = {2: ('red cell', 'white cell', 'platelet'), 3: ('nodule',)}
RADII = {2: (14, 26, 6), 3: (4,)}
SHAPE = {2: (120, 160), 3: (48, 40, 20)}
SPACING = (1.0, 1.0, 2.5)


def written(classes, labels, boxes, scores=None):
    """Boxes as a row of the predictions table has them."""
    lead = [[classes[label]] for label in labels] if scores is None else [
        [classes[label], round(float(score), 6)] for label, score in zip(labels, scores)]
    return json.dumps([[*first, *np.round(box, 2).tolist()] for first, box in zip(lead, boxes)])


def scene(rng, dims, most=7):
    """True boxes, labels, found boxes, labels and scores of an image."""
    shape, classes = np.array(SHAPE[dims]), len(KINDS[dims])
    count = int(rng.integers(0, most))
    labels = rng.choice(classes, count, p=(0.7, 0.15, 0.15)[:classes] if classes > 1 else None)
    radius = np.array(RADII[dims])[labels][:, None] * rng.uniform(0.8, 1.2, (count, 1))
    centre = rng.uniform(0.15, 0.85, (count, dims)) * shape
    truth = np.concatenate([np.clip(centre - radius, 0, shape), np.clip(centre + radius, 0, shape)], 1)
    seen = rng.random(count) < 0.85
    found = truth[seen] + rng.normal(0, 0.07, (seen.sum(), 2 * dims)) * radius[seen]
    spare = int(rng.integers(0, 4))
    corner, extent = rng.uniform(0, 0.8, (spare, dims)) * shape, rng.uniform(4, 30 if dims == 2 else 9, (spare, dims))
    scores = np.concatenate([rng.beta(6, 2, seen.sum()), rng.beta(2, 4, spare)])
    order = np.argsort(-scores)
    boxes = np.concatenate([found, np.concatenate([corner, np.minimum(corner + extent, shape)], 1)])[order]
    return truth, labels, boxes, np.concatenate([labels[seen], rng.integers(0, classes, spare)])[order], scores[order]


def picture(rng, dims, truth, labels):
    """Noise with a bright ellipse in each box; pictures in colours."""
    grid = np.moveaxis(np.indices(SHAPE[dims]), 0, -1) + 0.5
    image = rng.normal(0, 8, (*SHAPE[dims], 3 if dims == 2 else 1)) + 60
    for box, label in zip(truth, labels):
        middle, half = (box[:dims] + box[dims:]) / 2, (box[dims:] - box[:dims]) / 2
        inside = (((grid - middle) / half) ** 2).sum(-1) < 1
        image[inside] += np.array([[110, 40, 50], [60, 50, 130], [130, 120, 30]][label][:image.shape[-1]])
    return np.clip(image, 0, 255).astype(np.uint8)


def make(folder, dims, *, count=40, seed=0):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    folder, rng, names = pathlib.Path(folder), np.random.default_rng(seed), KINDS[dims]
    folder.mkdir(parents=True, exist_ok=True)
    rows, scenes = [], {}
    for split, n in (('val', count // 2), ('test', count)):
        for number in range(n):
            name = f'{split}{number:03d}'
            truth, labels, found, found_labels, scores = scenes[name] = scene(rng, dims)
            rows.append({
                'split': split, 'id': name, 'patient': f'{split}{number - (number % 5 == 1):03d}',
                'site': 'ab'[number % 2], 'size': json.dumps(SHAPE[dims]),
                **({'spacing': json.dumps(SPACING)} if dims == 3 else {}),
                'truth': written(names, labels, truth), 'found': written(names, found_labels, found, scores)})
    rows = summary.add_counts(rows, names)
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, names)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'detection', 'classes': names, 'step': 40,
        'counts': {'train': 2 * count, 'val': count // 2, 'test': count}, 'notice': NOTICE,
        'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 0, 'steps': 60, 'batch': 4, 'model': {'name': 'retinanet', 'variant': '18', 'dims': dims},
        'data': {'name': 'detection', 'source': {'name': 'simulated_detection'}}, 'evaluate': {'name': 'detection'},
        'checkpoint': {'best': 'ap50'}})
    atomic_files.write_json(folder / 'environment.json', {
        'devices': ['cpu:0'], 'command': COMMAND, 'parameters': 1234567})
    for name in [row['id'] for row in rows if row['split'] == 'test']:
        truth, labels, boxes, found_labels, scores = scenes[name]
        path = folder / 'cases' / 'test' / f'{name}.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, image=picture(rng, dims, truth, labels), kind='detection', truth=truth,
                            truth_labels=labels, found=boxes, found_labels=found_labels, scores=scores,
                            spacing=np.array(SPACING[:dims] if dims == 3 else (1.0, 1.0)))
    write_metrics(folder, names)
    return folder


def write_metrics(folder, names):
    """60 steps of training, validated at 20, 40 and 60; 40 was best."""
    writer = log.Writer(folder, 0)
    for step in range(5, 65, 5):
        values = {'train/loss': 2 / step, 'train/loss_classes': 1.5 / step, 'train/loss_boxes': 0.5 / step,
                  'train/grad_norm': 1 / step, 'lr': 1e-3}
        if step % 20 == 0:
            score = {20: 0.6, 40: 0.8, 60: 0.78}[step]
            values |= {'val/ap50': score, 'val/ap': score / 2, 'val/cpm': score - 0.1, 'val/loss': 1 - score}
            values |= {f'val/ap50_{name}': score - 0.1 * number for number, name in enumerate(names)}
        writer.write(step, values)
    writer.close()


def row(number, truth=(), found=(), split='test', patient='', classes='ab', size=(200, 300), **more):
    """Objects `(class, box)` and found ones `(class, score, box)`."""
    lists = [[classes.index(name) for name, *_ in some] for some in (truth, found)]
    return {'split': split, 'id': f'{split}{number}', 'patient': patient, 'size': json.dumps(size),
            'truth': written(classes, lists[0], [box for _, box in truth]),
            'found': written(classes, lists[1], [box for *_, box in found], [score for _, score, _ in found]), **more}


def square(place, side=10, dims=2):
    return [place] * dims + [place + side] * dims
