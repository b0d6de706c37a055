"""What a measurement is made of."""

import dataclasses
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison, set up and ready.

    Attributes:
      run: one repetition, finished when it returns.
      parameters: weights of the network; both sides' are equal to 1 %.
      flops: gives multiplications and additions of a repetition, as the network's definition has them.
      settings: what was chosen for speed, in words.
      parts: equal pieces of work that a repetition consists of; times are of one.
    """

    run: Callable[[], object]
    parameters: int = 0
    flops: Callable[[], float] = float
    settings: str = ''
    parts: int = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """A comparison.

    Attributes:
      what: shapes and sizes, in words.
      ours: name of our side -> what sets it up. Two sides where one is compared with the other.
      peers: the same for others; the fastest of them counts.
      goal: the least ratio peer / ours; for a job without peers, the most that `value` may be.
      value: 'ratio'; 'memory', the ratio of peak memories; 'first', of the times from a process's start to the end of
        the first repetition; 'share', the second of two sides' time as a share of the first's; 'ms', our median.
      cores: processor cores that each side may use; all where 0.
      device: 'cpu' or 'gpu'.
      environment: variables that both sides' processes are given; `{fresh}` is an empty folder.
    """

    what: str
    ours: Mapping[str, Callable[[], Side]]
    peers: Mapping[str, Callable[[], Side]]
    goal: float
    value: str = 'ratio'
    cores: int = 0
    device: str = 'cpu'
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
