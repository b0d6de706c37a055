"""Blood cells of BCCD by Faster R-CNN from random weights: red and white cells and platelets.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/detect_bccd_faster_rcnn.py --workdir=runs/bccd_faster

Data: the folder bccd in MEDJAX_DATA_DIR (VOC: JPEGImages, Annotations, ImageSets; 205 / 87 / 72 images of 640×480, the
official lists), at half resolution. A ResNet-18 of half the width and a feature pyramid; the weights with the best
validation AP at IoU .5. Variants: `:fast`, Fast R-CNN, whose proposals are computed in advance from contrast; `:rcnn`,
R-CNN, where every proposal passes the encoder, which is half as wide, with 16 training proposals an image in place of
64. Results: docs/results/detect_bccd_faster_rcnn.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 60
    c.batch = 8
    c.model = dict(name='rcnn', variant='faster', dims=2, classes=3, levels=(1, 2, 3), features=64, scale=2.0,
                   octaves=2, hidden=256, post_nms_top_n=128, pre_nms_top_n=400,
                   encoder=dict(name='resnet', variant='18', base=32))
    c.task = dict(name='detection', sampled_proposals=64, positive_fraction=0.5)
    c.data = dict(name='detection', size=(240, 320), max_objects=64, intensity=dict(name='training'),
                  source=dict(name='voc', dir='bccd', classes=('RBC', 'WBC', 'Platelets')))
    c.augment = dict(name='flip', flip=0.5, zoom=0.5, zoom_range=(0.8, 1.25), brightness=0.3, contrast=0.3)
    c.optim = dict(name='adamw', lr=5e-4, weight_decay=0.05, clip=5.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=100))
    c.evaluate = dict(name='detection', every=130, batch=8)
    c.checkpoint = dict(best='ap50', keep=1)
    c.log = dict(every=26)
    if variant in ('fast', 'rcnn'):
        c.data.proposals, c.model.variant, c.model.levels = 200, variant, (1,)
    if variant == 'rcnn':
        c.model.update(size=32, encoder=dict(name='resnet', variant='18', base=16, small_images=True))
        c.task.sampled_proposals = 16
    if variant == 'smoke':
        c.augment = dict(name='flip', flip=0.5)
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 8, 2, 1, 1
        c.model.update(levels=(0, 1), features=8, hidden=8, post_nms_top_n=16, pre_nms_top_n=32)
        c.model.encoder.update(base=4, blocks=(1, 1))
        c.task.sampled_proposals = 8
        c.data.size, c.model.classes = (64, 64), 2
        c.data.source = dict(name='simulated_detection', shape=(64, 64), cases=(8, 8, 8))
    return c
