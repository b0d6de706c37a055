# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Notebook: from a folder of NIfTI to overlays
#
# This notebook trains a U-Net on a folder of NIfTI images and labels, looks at its results, predicts a new image, and
# draws the labels over it. It takes a minute or two on two processor cores.
#
# It is the file `docs/notebooks/nifti_folder.py`. `jupytext --to notebook docs/notebooks/nifti_folder.py` makes a
# Jupyter notebook of it, and `python docs/notebooks/nifti_folder.py` runs it as a script. It writes into the current
# folder.
#
# ## The folder
#
# For a data set that everyone has, slabs of the MNI152 brain template stand for patients: `pip install nilearn` brings
# it. Each slab of the left hemisphere, 13 mm high, becomes an image `images/NAME.nii.gz` and a label of the same name
# with the tissues: 0 background, 1 cerebrospinal fluid, 2 grey matter, 3 white matter.
#
# With a folder of your own, skip this cell and set `DATA` and `CLASSES`.

# %%
import os
import pathlib

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import pandas as pd

import medjax
from medjax.data.sources import mni152

STEPS = int(os.environ.get('MEDJAX_NOTEBOOK_STEPS', 120))
DATA = pathlib.Path('brains').resolve()
CLASSES = ('background', 'csf', 'grey', 'white')

t1, tissues, affine, _ = mni152.template()


def write_slab(folder, name, low, high):
    """Writes the planes `low` to `high` of the left hemisphere, image and label."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ (0, 0, low)
    for kind, volume in (('images', t1), ('labels', tissues)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        part = volume[:mni152.MIDLINE, :, low:high]
        nibabel.save(nibabel.Nifti1Image(part, shifted), folder / kind / f'{name}.nii.gz')


for number in range(9):
    low = 24 + 13 * number
    if number == 4:  # not in the data set: it is predicted below
        write_slab(pathlib.Path('new'), 'unknown', low, low + 13)
    else:
        write_slab(DATA, f'slab{number}', low, low + 13)
sorted(path.name for path in (DATA / 'images').iterdir())

# %% [markdown]
# ## The experiment
#
# A config is plain data. Each section names a part of medjax and gives its options; an unknown option is refused.
# Without `splits`, patients are assigned to training, validation and test at random.

# %%
config = dict(
    seed=0, steps=STEPS, batch=8,
    model=dict(name='unet', variant='nnunet', dims=2, classes=4,
               base=12, levels=5, norm='batch'),
    # A rare class, here the fluid, needs a larger weight: in so few steps it is missed without.
    task=dict(name='segmentation', loss=dict(
        cross_entropy=dict(class_weight=(1.0, 4.0, 1.0, 1.0)), soft_dice=1.0)),
    data=dict(name='volumes', patch=(80, 192, 1), foreground=0.8,
              intensity=dict(name='percentile', low=0.5, high=99.5),
              cache=str(DATA.parent / 'cache'),
              source=dict(name='segmentation_folder', dir=str(DATA), classes=CLASSES,
                          splits=dict(slab2='val', slab5='test', slab7='test'),
                          val=0.0, test=0.0)),
    augment=dict(name='flip'),
    optim=dict(name='adamw', lr=3e-3, clip=1.0,
               schedule=dict(name='cosine', warmup=STEPS // 10)),
    evaluate=dict(name='segmentation', every=STEPS // 2),
    checkpoint=dict(best='dice_mean', keep=1),
)
run = medjax.train(config, 'runs/brains')

# %% [markdown]
# A second call with the same config and folder trains nothing, because the run is finished. In another session,
# `medjax.load('runs/brains')` gives the run again.
#
# ## The results
#
# `run.results` is the content of `results.json`. For each split and metric it has the mean over patients, the 95 %
# interval and the number of patients. Two patients are too few for a meaningful interval.

# %%
metrics = run.results['test']
dice = pd.DataFrame({name: metrics[f'dice_{name}'] for name in CLASSES[1:]}).T
dice = dice[['value', 'ci95', 'n']]
dice

# %% [markdown]
# `run.predictions` is the table of cases as a DataFrame, here with the Dice of each test case.

# %%
cases = run.predictions
cases[cases['split'] == 'test'][['id', *(f'dice_{name}' for name in CLASSES[1:])]]

# %% [markdown]
# ## A new image
#
# `run.predict` takes files, folders, arrays or tables. Of a volume it gives the labels on the volume's own grid.

# %%
path = pathlib.Path('new/images/unknown.nii.gz')
prediction = run.predict(path)
labels = prediction.arrays['unknown']
print(prediction.messages[-1])
labels.shape

# %% [markdown]
# ## Overlays
#
# The middle plane of the new image, the predicted tissues over it, and the true ones.

# %%
image = np.asarray(nibabel.load(path).dataobj)
truth = np.asarray(nibabel.load('new/labels/unknown.nii.gz').dataobj)
middle = image.shape[2] // 2
overlays = {'Image': None, 'Predicted': labels, 'True': truth}
figure, axes = plt.subplots(1, 3, figsize=(9, 4), layout='constrained')
for axis, (title, overlay) in zip(axes, overlays.items()):
    axis.imshow(image[:, :, middle].T, cmap='gray', origin='lower')
    if overlay is not None:
        tissue = np.ma.masked_equal(overlay[:, :, middle].T, 0)
        axis.imshow(tissue, cmap='viridis', vmin=1, vmax=3, alpha=0.6, origin='lower',
                    interpolation='nearest')
    axis.set_title(title)
    axis.axis('off')
figure.savefig('overlays.png', dpi=110)

# %% [markdown]
# ![The image, and predicted and true tissues over it](../images/nifti_folder.png)
#
# ## The report
#
# The report of the run is one self-contained HTML page, with the cases, training curves and how to reproduce the run.

# %%
run.report()
