"""The parts of a comparison: a side, which is measured, and a job, which compares sides."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison, ready to run.

    Attributes:
      run: one repetition; all of its work is finished when it returns.
      parameters: number of weights of the network; those of both sides agree within 1 %.
      flops: `() -> number` of multiplications and additions of a repetition, by the network's definition.
      settings: the settings that were chosen for speed, in words.
      units: number of equal units of work in a repetition; reported times are those of one unit.
    """

    run: Callable[[], object]
    parameters: int = 0
    flops: Callable[[], float] = float
    settings: str = ''
    units: int = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """A comparison.

    Attributes:
      description: the work with its shapes and sizes, in words.
      own: name of a side of medjax -> its setup. There are two where one is compared with the other.
      peers: the same for other libraries; the fastest one counts.
      goal: the least ratio peer / medjax; for a job without peers, the largest allowed value.
      value: 'ratio'; 'memory', the ratio of peak memories; 'first', the ratio of the times from the start of a process
        to the end of the first repetition; 'share', the time of the second of two sides as a share of the first's;
        'ms', medjax's median.
      cores: number of processor cores that each side may use; 0 for all.
      device: 'cpu' or 'gpu'.
      environment: environment variables of the processes of both sides; `{fresh}` is an empty folder.
    """

    description: str
    own: Mapping[str, Callable[[], Side]]
    peers: Mapping[str, Callable[[], Side]]
    goal: float
    value: str = 'ratio'
    cores: int = 0
    device: str = 'cpu'
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
