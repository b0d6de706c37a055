"""Small simulated scans over time with known voxels: a square that grows by one voxel on each side at every visit."""

import numpy as np

from medjax.data.datasets.tumour_visits import FollowUp, Scans
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source

SITES = ('front', 'back')


def square(side, extent=12, middle=(6, 6)):
    """A mask `[X, Y, 1]` with a square of `side` voxels."""
    out = np.zeros((extent, extent, 1), np.uint8)
    low = [m - side // 2 for m in middle]
    out[low[0]:low[0] + side, low[1]:low[1] + side] = 1
    return out


def case(name, split='train', times=(0, 30, 90), sides=(2, 4, 6), new=(-1, 0), middle=(6, 6), extent=12, sites=True,
         seed=0, spacing=2.0):
    """A patient; the images are noise, 0 at a border of one voxel."""
    rng = np.random.default_rng((seed, len(name)))
    masks = np.stack([square(side, extent, middle) for side in sides], -1)
    image = rng.normal(5, 1, (*masks.shape, 1)).astype(np.float32)
    image[[0, -1]] = 0
    places = np.ones(masks.shape[:3], np.uint8)
    places[:, extent // 2:] = 2
    affine = np.diag([spacing, spacing, 5.0, 1.0])
    scans = Scans(Image(image, affine, name), Image(masks, affine, name), places if sites else None,
                  np.ones(masks.shape[:3], np.float32) if sites else None)
    target = FollowUp(tuple(map(float, times)), SITES if sites else (), tuple(new) if sites else (),
                      (0.1, 0.2) if sites else (), 0.25)
    return Case(id=name, patient=name, split=split, read=lambda: scans, target=target, columns={'sex': 'f'})


def source(*cases):
    """Of these patients, or of four."""
    cases = cases or (case('a'), case('bb', times=(0, 20, 50, 100), sides=(2, 2, 4, 6), new=(0, 1)),
                      case('ccc', 'val'), case('dddd', 'test', new=(1, 0)))
    return Source(cases=tuple(cases), classes=('background', 'tumour'), problem='growth', unit='days',
                  notice='Squares.')
