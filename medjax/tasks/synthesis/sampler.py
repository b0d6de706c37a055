"""Images sampled from a network, as files store them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core.batched import BatchedPredictor
from medjax.data.transforms.images import ImagePreprocess
from medjax.errors import InputError

# First seeds: of each split's images, of the images saved during training, and of images for other uses.
SEEDS_PER_SPLIT, TRAINING_SEED, FREE_SEED = 2**20, 2**30, 2**31


@dataclasses.dataclass(frozen=True)
class ImageSampler:
    """Samples images of given classes.

    Attributes:
      preprocess: between stored images and the network's intensities.
      intensities: mean and standard deviation of the training images, where the normalisation needs them.
      predict_batched: of the task.
    """

    preprocess: ImagePreprocess
    intensities: Mapping[str, Sequence[float]]
    predict_batched: BatchedPredictor

    def __call__(self, variables: Any, labels: np.ndarray, first: int) -> np.ndarray:
        """An image of each label, uint8 `[n, *S, C]`.

        Args:
          variables: of the network.
          labels: `[n]` class numbers.
          first: seed of the first image; the others follow.

        Raises:
          InputError: an image is not finite.
        """
        seeds = (first + np.arange(len(labels))).astype(np.uint32)
        inputs = {'seed': seeds, 'label': np.asarray(labels, np.int32)}
        images = self.predict_batched(variables, inputs)['sample']
        invalid = ~np.isfinite(images).reshape(len(images), -1).all(1)
        if invalid.any():
            raise InputError(f'generated image of seed {seeds[invalid.argmax()]}: not finite; expected numbers: the '
                             'weights have diverged')
        return self.preprocess.to_bytes(images, self.intensities)
