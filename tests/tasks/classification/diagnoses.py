"""Simulated workdirs of classification runs: images with a bright spot where the class is visible."""

import pathlib

import numpy as np

from medjax import atomic_files
from medjax.core import log
from medjax.tasks.classification import summary
from tests.report.runs import write_table

NOTICE = 'Simulated data: spots on noise, no patients.'
COMMAND = 'python -m medjax.train --config=configs/simulated_cnn.py --workdir=runs/simulated_cnn'
KINDS = {
    'binary': ('normal', 'pneumonia'),
    'multiclass': ('adipose', 'background', 'debris', 'lymphocytes', 'mucus', 'smooth muscle', 'normal colon mucosa',
                   'cancer-associated stroma', 'colorectal adenocarcinoma epithelium'),
    'ordinal': ('grade 0', 'grade 1', 'grade 2', 'grade 3'),
    'multilabel': ('atelectasis', 'cardiomegaly', 'effusion')}
METHODS = ('grad_cam', 'integrated_gradients', 'occlusion')


def truth_and_probs(problem, count, rng, skill=1.6):
    """Class numbers `[n]`, or labels `[n, K]` with some unknown, and the probabilities of a fair, too sure network."""
    classes = len(KINDS[problem])
    if problem == 'multilabel':
        truth = (rng.random((count, classes)) < (0.4, 0.2, 0.3)).astype(float)
        logits = skill * (2 * truth - 1) + rng.normal(0, 1.5, truth.shape)
        truth[rng.random(truth.shape) < 0.05] = np.nan
        return truth, 1 / (1 + np.exp(-logits))
    truth = rng.integers(0, classes, count)
    apart = np.abs(np.arange(classes) - truth[:, None])
    logits = -2 * skill * (apart if problem == 'ordinal' else apart > 0) + rng.normal(0, 2.0, apart.shape)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    return truth, probs / probs.sum(1, keepdims=True)


def rows_of(problem, split, count, rng):
    """Rows of a predictions table: two images of every fifth patient, a sex and a scanner."""
    names = KINDS[problem]
    truth, probs = truth_and_probs(problem, count, rng)
    for number in range(count):
        target = {'target': names[truth[number]]} if truth.ndim == 1 else {
            f'target_{name}': value for name, value in zip(names, truth[number])}
        yield {'split': split, 'id': f'{split}{number:04d}', 'patient': f'{split}{number - (number % 5 == 1):04d}',
               'sex': 'FM'[number % 2], 'scanner': 'B' if number % 16 == 3 else 'A', **target,
               **{f'prob_{name}': float(value) for name, value in zip(names, probs[number])}}


def picture(rng, shape, channels):
    """Noise `[*S, C]` with a bright spot, and what three methods say of it, `[3, *S]`."""
    grid = np.indices(shape) / np.reshape(shape, (-1,) + (1,) * len(shape))
    centre = rng.uniform(0.25, 0.75, len(shape)).reshape(-1, *(1,) * len(shape))
    spot = np.exp(-((grid - centre) ** 2).sum(0) / 0.01)
    body = 1.0 * (((grid - 0.5) ** 2).sum(0) < 0.18)
    image = (0.35 * body + 0.5 * spot)[..., None] * np.linspace(1, 0.6, channels)
    image += rng.normal(0, 0.04, (*shape, channels))
    signed = spot + rng.normal(0, 0.15, shape)
    maps = np.stack([np.maximum(spot - 0.1, 0), signed, np.roll(spot, 2, 0) - 0.3 * np.roll(spot, shape[0] // 3, 0)])
    return image.astype(np.float32), maps.astype(np.float16)


def make(folder, problem, *, shape=(28, 28), channels=1, count=160, spacing=None, tests=False, **options):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    folder, rng, names = pathlib.Path(folder), np.random.default_rng(0), KINDS[problem]
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for split, n in (('val', count // 2), ('test', count)) for row in rows_of(problem, split, n, rng)]
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, problem, names, subgroups=('sex', 'scanner'), **options)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': problem, 'classes': names, 'step': 40,
        'counts': {'train': 2 * count, 'val': count // 2, 'test': count}, 'notice': NOTICE,
        'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 0, 'steps': 60, 'batch': 32, 'model': {'name': 'resnet', 'variant': '18', 'dims': len(shape)},
        'data': {'name': 'images', 'source': {'name': 'simulated_images'}}, 'evaluate': {'name': 'classification'},
        'checkpoint': {'best': 'auroc'}})
    atomic_files.write_json(folder / 'environment.json', {
        'devices': ['cpu:0'], 'command': COMMAND, 'parameters': 11173962})
    for row in kept(rows, problem):
        image, maps = picture(rng, shape, channels)
        more = {'spacing': np.array(spacing)} if spacing else {}
        more |= {name: rng.random(len(METHODS)) for name in ('deletion', 'insertion', 'similarity')} if tests else {}
        path = folder / 'cases' / 'test' / f'{row["id"]}.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, image=image, maps=maps, methods=np.array(METHODS), kind='classification',
                            explained=names[-1], **more)
    write_metrics(folder)
    plain, shown = (np.stack([picture(rng, shape, 1)[0][..., 0] for _ in range(2)]) for _ in range(2))
    np.savez_compressed(folder / 'augmented.npz', original=plain, image=shown, label=np.array([0, 1]))
    return folder


def kept(rows, problem):
    """The cases of which an evaluation keeps a snapshot: right and sure, least sure, wrong and sure; one of each."""
    names = KINDS[problem]
    if problem == 'multilabel':
        return rows[-2:]
    test = [row for row in rows if row['split'] == 'test']
    sure = {row['id']: max(row[f'prob_{name}'] for name in names) for row in test}
    right = {row['id']: row[f'prob_{row["target"]}'] == sure[row['id']] for row in test}
    chosen = (max(test, key=lambda row: sure[row['id']] * right[row['id']]),
              min(test, key=lambda row: sure[row['id']]),
              max(test, key=lambda row: sure[row['id']] * (not right[row['id']])))
    return list({row['id']: row for row in chosen}.values())


def write_metrics(folder):
    """60 steps of training, validated at 20, 40 and 60; 40 was best."""
    writer = log.Writer(folder, 0)
    for step in range(5, 65, 5):
        values = {'train/loss': 2 / step, 'train/grad_norm': 1 / step, 'lr': 1e-3}
        if step % 20 == 0:
            score = {20: 0.8, 40: 0.95, 60: 0.93}[step]
            values |= {'val/auroc': score, 'val/accuracy': score - 0.1, 'val/loss': 1 - score}
        writer.write(step, values)
    writer.close()
