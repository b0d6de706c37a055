"""A predictor that needs no training: what is above a value is a lesion."""

import numpy as np

from medjax.clinic.identity import Identity
from medjax.clinic.options import DicomOptions
from medjax.clinic.predictor import DicomPredictor
from medjax.core import contracts
from medjax.data.io import image_files


class Threshold(contracts.Predictor):
    """See above."""

    finds = 'labels'
    statistics = {'classes': ['background', 'lesion']}

    def findings(self, variables, path, probs=False):
        label = (image_files.read(path).array > variables).astype(np.uint8)
        return contracts.Findings(('background', 'lesion'), f'{label.sum()} voxels', label)


def predictor(objects=('seg', 'sr')):
    """Writes DICOM objects of what is above a value."""
    return DicomPredictor(Threshold(), DicomOptions(), objects, Identity('medjax segmentation unet', 3, 'cd' * 32))
