"""The next scan of a growing tumour from two or three earlier ones: a U-Net conditioned on times, on simulated brains.

    python -m medjax.train --config=configs/grow_brain_unet.py --workdir=runs/grow
    python -m medjax.train --config=configs/grow_brain_unet.py:convlstm --workdir=runs/grow_convlstm

Data: simulated, reaction and diffusion on the tissue of the MNI152 template (`pip install nilearn`), one plane of it at
2.5 mm: 3000 patients train, 150 validate, 200 test. Variants: `:convlstm` (Shi 2015), `:physics` (the Gompertz law as a
penalty), `:small` (100 patients), `:smoke`. Own scans: docs/howto/tumour_visits.md. 4 minutes of training on 2 cores.
Results: docs/results/grow_brain_unet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1800
    c.batch = 16
    c.model = dict(name='longitudinal_unet', base=12, levels=4, max_channels=96)
    c.task = dict(name='growth', loss=dict(cross_entropy=1.0, soft_dice=1.0), new_tumour_weight=0.2, volume_weight=0.3)
    c.data = dict(name='tumour_growth', size=(64, 80),
                  source=dict(name='simulated_tumour_growth', cases=(3000, 150, 200), shape=(64, 80), spacing=2.5))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-3, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='growth', every=200, batch=32)
    c.checkpoint = dict(best='dice', keep=1)
    c.log = dict(every=50)
    if variant == 'convlstm':
        c.model, c.steps = dict(name='convlstm', base=12, levels=3, state=48), 800
    if variant == 'physics':
        c.task.gompertz_weight = 0.1
    if variant == 'small':
        c.data.source.cases = (100, 50, 200)
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 1, 1
        c.batch, c.model.base, c.model.levels, c.data.size, c.evaluate.reaction_diffusion = 4, 4, 2, (32, 32), False
        c.data.source = dict(name='simulated_tumour_growth', cases=(8, 4, 8), shape=(32, 32), spacing=5.0,
                             template='synthetic')
    return c
