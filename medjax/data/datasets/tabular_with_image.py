"""Tabular data with one image for each patient."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from medjax.data.datasets.prepared_images import PreparedImages, prepare_images
from medjax.data.datasets.tabular import TabularDataset, check_times, covariate_scale
from medjax.data.source import Source
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError
from medjax.options import Count, Positive


class PatientImages(PreparedImages):
    """The images of the patients; targets are those of the tabular data."""

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Images that are in two splits, a line each; the classes are those of the tabular data."""
        return [*self._duplicates()]

    def _class_counts(self, numbers: np.ndarray) -> np.ndarray:
        return np.zeros(len(self.source.classes))

    @property
    def statistics(self) -> dict[str, Any]:
        """Channels and intensities of the training images."""
        return {'channels': self.arrays.shape[-1], 'intensities': dict(self.intensities), 'ranges': self.ranges}

    @property
    def fingerprint(self) -> str:
        """The hashes of all images."""
        return ' '.join(self.hashes)

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The images of some patients, `image [n, *S, C]` float32."""
        return {'image': self.images(numbers)}


@dataclasses.dataclass(frozen=True)
class TabularImageDataset(TabularDataset):
    """A data set of patients with covariates, an image and an outcome.

    Attributes:
      images: of all patients, in the source's order.
    """

    images: PatientImages | None = None

    def network_inputs(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """The network's inputs for some patients: `covariates [n, F]` and `image [n, *S, C]`, float32."""
        return {**super().network_inputs(numbers), **self.images.batch(numbers)}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Problems of the tabular data and of the images, a line each."""
        return [*super().warnings, *self.images.warnings]

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """Statistics of the tabular data and of the images; stored with each checkpoint."""
        return {**super().statistics, **self.images.statistics}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over covariates, images, outcomes, patients and splits."""
        return hashlib.sha256(f'{super().fingerprint} {self.images.fingerprint}'.encode()).hexdigest()


def dataset(source: Source, *, size: Sequence[Count], resize_mode: Literal['stretch', 'pad'] = 'stretch',
            channels: Literal[1, 3] | None = None, intensity: Mapping[str, Any] | None = None, cache: str = '',
            covariates: Sequence[str] = (), times: Sequence[Positive] = ()) -> TabularImageDataset:
    """The data set of a source's patients and their images.

    Args:
      source: the patients, each with an image and an outcome.
      size: see `ImagePreprocess`, as for resize_mode, channels and intensity.
      resize_mode: …
      channels: …
      intensity: …
      cache: the folder of prepared images; by default in the user's cache folder.
      covariates: see `tabular.dataset`, as for times.
      times: …

    Raises:
      InputError: as `images.dataset` and `tabular.dataset`; a patient without an image.
    """
    without = [case.id for case in source.cases if case.read is None]
    if source.problem not in ('survival', 'treatment') or without:
        raise InputError(f'config.data: {without[0] if without else source.problem}: expected patients with an outcome '
                         "and an image each, such as survival_csv with config.data.source.image, the column of the "
                         "images' paths")
    names, scale, dropped = covariate_scale(source, covariates)
    preprocess = image_preprocess(size=size, resize_mode=resize_mode, channels=channels, intensity=intensity)
    return TabularImageDataset(source, names, scale, check_times(times), dropped,
                               prepare_images(PatientImages, source, preprocess, cache))
