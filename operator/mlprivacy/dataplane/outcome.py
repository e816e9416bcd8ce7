"""How a data-plane process ends: its exit code and the sentence that says why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code`` 0 is well; anything else puts ``sentence`` into the container's termination message."""

    code: int
    sentence: str
