"""Tumours in one CT and two MR volumes by nnU-Net's 3D U-Net: real geometry end to end, without evidence of accuracy.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/segment_tumour_unet3d.py --workdir=runs/tumour3d
    python -m medjax.evaluate --workdir=runs/tumour3d --split=train,test

Data: the three volumes that pyradiomics ships with one lesion each, in MEDJAX_DATA_DIR/tumours: lung1 (CT, slices of
5 mm), brain2 (MR, 6.5 mm) and breast1 (MR, 2.1 mm). Two train and the third, of another organ, tests.
Results: docs/results/segment_tumour_unet3d.json.
"""

from ml_collections import config_dict

NOTICE = ('Three volumes of three organs (a CT of the chest, an MR of the head, an MR of the breast) with one lesion '
          'each: two train, one tests. This run shows that files, spacings, windows and predictions fit together. Its '
          'numbers are no evidence of accuracy: on training cases they measure memorisation, and the training data has '
          'nothing to learn for the test case.')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 200
    c.batch = 2
    c.model = dict(name='unet', variant='nnunet', dims=3, classes=2, base=8, levels=4,
                   strides=((2, 2, 1), (2, 2, 2), (2, 2, 2)))
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0, soft_dice=1.0))
    c.data = dict(name='volumes', patch=(64, 64, 16), spacing=(1.0, 1.0, 3.0), intensity=dict(name='zscore'),
                  foreground=0.67,
                  source=dict(name='segmentation_folder', dir='tumours', images='.', labels='.', image_suffix='_image',
                              label_suffix='_label', classes=('background', 'tumour'), notice=NOTICE,
                              splits=dict(lung1='train', brain2='train', breast1='test')))
    c.augment = dict(name='nnunet', elastic=0.2)
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=10))
    c.evaluate = dict(name='segmentation', overlap=0.25, tolerance_mm=2.0, lesion_metrics=True)
    c.checkpoint = dict(every=100, keep=1)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
    if variant == 'smoke':
        c.steps, c.evaluate.overlap, c.optim.schedule.warmup = 2, 0.0, 1
        c.model.update(base=4, levels=3, strides=((2, 2, 1), (2, 2, 2)))
        c.data.update(patch=(32, 32, 8), spacing=(2.0, 2.0, 5.0))
    return c
