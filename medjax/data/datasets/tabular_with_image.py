"""Patients with an image each beside their record, and an outcome that both may tell of."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.datasets.images import Prepared, prepared
from medjax.data.datasets.tabular import Records, checked_times, described
from medjax.data.source import Source
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError


class Pictures(Prepared):
    """The images alone."""

    def _positive(self, numbers: np.ndarray) -> np.ndarray:
        return np.zeros(len(self.source.classes))  # who has an event is told by the records


@dataclasses.dataclass(frozen=True)
class Imaged(Records):
    """A source's records and images as arrays.

    Attributes:
      pictures: of all patients, in the source's order.
    """

    pictures: Pictures | None = None

    def seen(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What a network may see of some patients: `covariates [n, F]` and `image [n, *S, C]`, float32."""
        return super().seen(numbers) | {'image': self.pictures.images(numbers)}

    @functools.cached_property
    def warnings(self) -> list[str]:
        """What is to be minded in these data, a line each."""
        return [*super().warnings, *self.pictures.warnings]

    @functools.cached_property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` have to know of the training data; stored with each checkpoint."""
        return super().statistics | {'channels': self.pictures.arrays.shape[-1],
                                     'intensities': dict(self.pictures.intensities)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over records, images, outcomes, patients and splits."""
        return hashlib.sha256(' '.join([super().fingerprint, *self.pictures.hashes]).encode()).hexdigest()


def dataset(source: Source, *, size: Sequence[int], fit: str = 'stretch', channels: int | None = None,
            intensity: Mapping[str, Any] | None = None, cache: str = '', covariates: Sequence[str] = (),
            times: Sequence[float] = ()) -> Imaged:
    """Makes a source's images and records a data set.

    Args:
      source: the patients, each with an image and an outcome.
      size: see `framing.ImagePreprocess`, as for fit, channels and intensity.
      fit: …
      channels: …
      intensity: …
      cache: see `images.dataset`.
      covariates: see `records.dataset`, as for times.
      times: …

    Raises:
      InputError: as `images.dataset` and `records.dataset`; a patient without an image.
    """
    without = [case.id for case in source.cases if case.read is None]
    if source.problem not in ('survival', 'treatment') or without:
        raise InputError(f'config.data: {without[0] if without else source.problem}: expected patients with an outcome '
                         "and an image each, as of cohort with config.data.source.image, the column of the images' "
                         'paths')
    described_by = described(source, covariates)
    frame = image_preprocess(size=size, fit=fit, channels=channels, intensity=intensity)
    return Imaged(source, *described_by, checked_times(times), prepared(Pictures, source, frame, cache))
