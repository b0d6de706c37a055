"""Registration of brains: VoxelMorph's velocity field after an affine stage, on simulated pairs of MNI152 planes.

    python -m medjax.train --config=configs/register_brain_voxelmorph.py --workdir=runs/register
    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/register_brain_voxelmorph.py:people --workdir=runs/people

Data: simulated, MNI152 (`pip install nilearn`) deformed twice for each pair; the test planes are of a slab of their
own. Variants: `:affine`; `:instance`, 260 optimisation steps on each pair, without training; `:refined`, 60 of them
after the network; `:volume`, `:instance` in 3D at 2 mm; `:mi`, `:instance` by mutual information with an inverted
contrast of the moving image; `:dice`, labels in training; `:people`, `:instance` on planes of six people, from the
data/ of antspyx' source distribution (pip download --no-binary :all: --no-deps antspyx), here
$MEDJAX_DATA_DIR/antspyx/*slice.jpg. 4 minutes on one core. Results: docs/results/register_brain_voxelmorph.json.
"""

from ml_collections import config_dict

PEOPLE = ('r16', 'r27', 'r30', 'r62', 'r64', 'r85')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 600
    c.batch = 8
    c.model = dict(name='registration', variant='voxelmorph', base=16, levels=4, max_channels=64)
    c.task = dict(name='registration', similarity=dict(name='ncc', window=9), smoothness=0.2)
    c.data = dict(name='registration', size=(80, 96), source=dict(name='simulated_registration', cases=(300, 12, 40)))
    c.optim = dict(name='adam', lr=2e-3, clip=1.0, schedule=dict(name='cosine', warmup=20))
    c.evaluate = dict(name='registration', every=200, bspline_pairs=8)
    c.checkpoint = dict(best='tre', keep=1)
    c.log = dict(every=25)
    if variant == 'affine':
        c.model.variant = 'affine'
    if variant == 'dice':
        c.task.dice = 1.0
    if variant == 'refined':
        c.task.refine = dict(downsampling=(1,), steps=(60,), affine_steps=(0,), lr=0.05)
    if variant in ('instance', 'volume', 'mi', 'people'):
        c.model, c.task.refine = dict(name='registration', variant='instance'), dict()
        c.steps, c.optim, c.evaluate.every, c.log.every = 10, dict(name='adam', lr=1e-3), 10, 10
        c.data.source.cases = (8, 4, 40)
    if variant == 'mi':
        c.data.source.invert_contrast, c.task.similarity, c.task.smoothness = True, dict(name='mi', bins=32), 0.1
    if variant == 'volume':
        c.model.dims, c.data.size, c.batch, c.evaluate.bspline_pairs = 3, (80, 96, 80), 1, 0
        c.data.source.update(cases=(1, 1, 4), shape=(80, 96, 80))
    if variant == 'people':
        c.data.update(size=(96, 112), spacing=(2.0, 2.0, 1.0))
        c.data.source = dict(name='image_pairs_csv', dir='antspyx', tissue_labels=True, pairs=tuple(
            (f'{one}slice.jpg', f'{other}slice.jpg', 'train' if (one, other) == ('r85', 'r64') else 'test')
            for one in PEOPLE for other in PEOPLE if one > other))
        c.batch, c.evaluate.every, c.checkpoint, c.evaluate.bspline_pairs = 1, 0, dict(keep=1), 2
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 2, 1, 1
        c.model.update(base=4, levels=2)
        c.data.update(size=(24, 32))
        c.data.source.update(cases=(4, 2, 2), shape=(24, 32), spacing=7.0, template='synthetic', points=10)
        c.evaluate.update(affine_baseline=False, bspline_pairs=1)
    return c
