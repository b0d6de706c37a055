"""How a run names itself in the DICOM objects of its predictions."""

import dataclasses
import functools
from typing import Any

import highdicom as hd
from pydicom.sr.codedict import codes

import medjax


@dataclasses.dataclass(frozen=True)
class Identity:
    """A trained run as the equipment that made an object.

    Attributes:
      name: of the network and the family.
      step: of the weights.
      digest: of the run's config and step.
    """

    name: str
    step: int
    digest: str

    @functools.cached_property
    def equipment(self) -> dict[str, str]:
        """Keyword arguments of highdicom's objects; the serial number is the run's digest, shortened."""
        return {'manufacturer': 'medjax', 'manufacturer_model_name': self.name[:64],
                'software_versions': self.version, 'device_serial_number': self.digest[:16]}

    @property
    def version(self) -> str:
        """Version of the software and step of the weights."""
        return f'{medjax.__version__}, step {self.step}'

    @property
    def algorithm(self) -> Any:
        """The identification of the algorithm of segments."""
        return hd.AlgorithmIdentificationSequence(name=self.name[:64], family=codes.DCM.ArtificialIntelligence,
                                                  version=self.version, source='medjax')
