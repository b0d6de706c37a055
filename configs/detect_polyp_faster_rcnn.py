"""Polyps in colonoscopy by Faster R-CNN, frame by frame: 256×256×3, batches of 4, 50 epochs.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/detect_polyp_faster_rcnn.py --workdir=runs/polyp
    python -m medjax.predict --workdir=runs/polyp --input=new.mp4 --output=found

Data: the folder polyps in MEDJAX_DATA_DIR with NAME.mp4 and a line frame,x1,y1,x2,y2,polyp for each box in NAME.txt (or
NAME.csv, or VOC's XML in NAME/); every fifth frame. All frames of a video are in one split; where a patient has several
videos, config.data.source.patient_regex names the patient. `predict` tracks detections from frame to frame. No score is
given, since no such data set is freely available. Variant `:simulated`: a small network on rendered videos, minutes on
two cores, which says nothing about patients. Results: docs/results/detect_polyp_faster_rcnn_simulated.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 50
    c.batch = 4
    c.model = dict(name='rcnn', variant='faster', dims=2, classes=1, levels=(1, 2, 3), features=64, scale=4.0,
                   octaves=2, hidden=256, post_nms_top_n=64, pre_nms_top_n=400,
                   encoder=dict(name='resnet', variant='18', base=32))
    c.task = dict(name='detection', sampled_proposals=32, positive_fraction=0.5)
    c.data = dict(name='detection', size=(256, 256), channels=3, max_objects=16, intensity=dict(name='training'),
                  source=dict(name='video', dir='polyps', frame_step=5, classes=('polyp',)))
    c.augment = dict(name='flip', flip=0.5, zoom=0.5, zoom_range=(0.8, 1.25), brightness=0.3, contrast=0.3)
    c.optim = dict(name='adamw', lr=5e-4, weight_decay=0.05, clip=5.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=100))
    c.evaluate = dict(name='detection', every=1000, batch=8)
    c.checkpoint = dict(best='ap50', keep=1)
    c.log = dict(every=50)
    if variant in ('simulated', 'smoke'):
        c.data.source = dict(name='simulated_video', cases=(12, 4, 4), frames=75, shape=(128, 128), frame_step=5)
        c.data.size, c.model.encoder.base, c.epochs, c.evaluate.every, c.log.every = (64, 64), 16, 24, 540, 90
        c.model.update(scale=1.5, features=32, hidden=64, post_nms_top_n=32, pre_nms_top_n=100)
        c.optim.schedule.warmup = 50
    if variant == 'smoke':
        c.augment = dict(name='flip', flip=0.5)
        c.epochs, c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 2, 1, 1
        c.model.update(levels=(0, 1), features=8, hidden=8, post_nms_top_n=16, pre_nms_top_n=32)
        c.model.encoder.update(base=4, blocks=(1, 1))
        c.task.sampled_proposals = 8
        c.data.source.update(cases=(3, 2, 2), frames=6, shape=(64, 64), frame_step=2)
    return c
