"""Lungs in CT slices by the original U-Net, on a folder of images.

    python -m medjax.train --config=configs/segment_lung_unet2d.py --workdir=runs/lung2d --config.data.source.dir=DIR

Data: DIR/images and DIR/masks with slices and their masks (0 and 255) of the same names, as PNG, TIFF, JPEG or BMP;
512 × 512 images are halved to 256 × 256. These formats have no pixel size: distances in the results are in pixels,
unless config.data.source.spacing gives it in mm. Where a patient has several slices, name the patients in a CSV table,
--config.data.source.table=cases.csv (see medjax/data/sources/segmentation_folder.py), since splits are by patient.
Network: Ronneberger 2015, one output through a sigmoid, binary cross-entropy, Adam. Hardware: one GPU.
The smoke run learns nothing: it trains on slices of one chest CT with a tumour, and evaluates on two MR volumes.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs, c.steps = 50, 0  # steps above 0 replace epochs
    c.batch = 4
    c.model = dict(name='unet', variant='plain', dims=2, classes=1)
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0))
    c.data = dict(name='volumes', patch=(256, 256, 1), spacing=(2.0, 2.0, 1.0), intensity=dict(name='zscore'),
                  crop=False, foreground=0.0,
                  source=dict(name='segmentation_folder', dir='lungs', images='images', labels='masks', table='',
                              classes=('background', 'lung'), label_values=(0, 255)))
    c.augment = dict(name='unet')
    c.optim = dict(name='adam', lr=1e-4)
    c.evaluate = dict(name='segmentation', every=500)
    c.checkpoint = dict(best='dice_mean', keep=1)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
    if variant == 'smoke':
        c.steps, c.evaluate.every = 2, 2
        c.model.update(base=4, levels=3)
        c.data.update(patch=(64, 64, 1), spacing=(4.0, 4.0, 5.0))
        c.data.source = dict(name='segmentation_folder', dir='tumours', images='.', labels='.', image_suffix='_image',
                             label_suffix='_label', classes=('background', 'tumour'),
                             splits=dict(lung1='train', brain2='val', breast1='test'))
    return c
