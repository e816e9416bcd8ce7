"""What it means for a job that the collector does not hear its sidecar. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Seconds of silence after which a job says so, and as many or more after which training is stopped; 0: never."""

    told: int = 60
    stopped: int = 300


@dataclass(frozen=True)
class Silence:
    """A sidecar that was not heard for longer than ``patience`` allows; ``too_long``: for longer than it may last."""

    patience: Patience
    too_long: bool

    def while_it_runs(self, *, training: bool) -> str:
        """The sentence for a job that goes on. The same at each look, however long it has been."""
        heard = f"it runs, and the collector has not heard its sidecar for {self.patience.told} s or longer"
        if training and self.patience.stopped:
            return f"{heard}; it is stopped after {self.patience.stopped} s, since nothing meters it"
        return heard

    def when_stopped(self) -> str:
        """The sentence for training that was stopped."""
        return (
            f"the collector did not hear its sidecar for {self.patience.stopped} s, so nothing metered it; see that "
            "the collector reaches the pods' port, then set spec.suspend to true and back to false for a new attempt"
        )
