"""Lower-grade glioma in MR (TCGA) by a 2D U-Net, with neighbouring slices as channels in the variant `context`.

    bash launch/crossval.sh --config=configs/segment_lgg_unet2d.py:context --workdir=runs/lgg --folds=5 --inner=8

Data: 85 patients (Buda 2019, TCGA-LGG) in MEDJAX_DATA_DIR/lgg at half the published resolution: 128 × 128 pixels, three
channels. Five folds by patient test each patient once; an eighth of the other patients selects the weights. Buda 2019
report a mean Dice of .82 on 110 patients at full resolution. The folds of this recipe have not been run yet; a step was
estimated from 30 of them at about 3 s of processor time.
"""

from ml_collections import config_dict

NOTICE = ('TCGA lower-grade glioma, 85 of the 110 patients of Buda 2019 at half of their in-plane resolution. Masks '
          'are of the FLAIR abnormality. The voxel spacing of 2 × 2 × 5 mm is assumed, and distances in mm with it; '
          'where a sequence is missing, FLAIR stands in for it.')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 500
    c.batch = 16
    # Batch norm: a slice without tumour keeps its grey values, which instance norm would stretch.
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=2, base=16, levels=5, norm='batch')
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0, soft_dice=1.0))
    # A third of the slices has tumour, and a hundredth of the voxels: half of the patches are centred on one.
    c.data = dict(name='volumes', patch=(128, 128, 1), intensity=dict(name='zscore'), foreground=0.5, folds=(5, 8),
                  fold=(0, 0), source=dict(name='segmentation_folder', dir='lgg', classes=('background', 'tumour'),
                                           channels=('pre-contrast', 'FLAIR', 'post-contrast'),
                                           patient_regex='^(.{12})', notice=NOTICE))
    # Heads are upright, so that rotations are small and left and right alone are mirrored.
    c.augment = dict(name='nnunet', degrees=20.0, flip_axes=(0,), elastic=0.2, elastic_mm=6.0)
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-2, clip=1.0, ema=0.98,
                   schedule=dict(name='cosine', warmup=30))
    c.evaluate = dict(name='segmentation', every=125, overlap=0.5, flips=(0,), batch=16, tolerance_mm=2.0,
                      lesion_metrics=True)
    c.checkpoint = dict(best='dice_mean', keep=1)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
    if variant == 'context':
        c.data.context = 1
    elif variant == 'smoke':
        c.steps, c.batch, c.optim.schedule.warmup = 2, 2, 1
        c.model.update(base=4, levels=3)
        c.data.update(patch=(32, 32, 1), context=1, spacing=(8.0, 8.0, 20.0))
        c.evaluate.update(every=2, overlap=0.0)
    elif variant:
        raise ValueError(f"variant {variant!r}; expected '', 'context' or 'smoke'")
    return c
