"""What the launcher has seen of a study at one moment: enough to say what could start now."""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.trial import TrialState

from bench.queue.slots import Slot, best_slot, is_over


@dataclass(frozen=True)
class SystemSnapshot:
    """One system."""

    slots: list[Slot]
    confirmed: frozenset[int]
    unclaimed_confirms: tuple[int, ...]
    """Confirm runs that have not ended and that no worker holds."""
    num_confirms: int
    paused_share: float
    """Trials at rungs, each counted by the share of its epochs that it has trained."""

    @property
    def waiting(self) -> set[int]:
        """The slots that a worker may take."""
        return {slot.number for slot in self.slots if slot.state == TrialState.WAITING}

    @property
    def is_confirming(self) -> bool:
        """Whether the search is over and has found a setting."""
        return is_over(self.slots) and best_slot(self.slots) is not None

    @property
    def num_planned(self) -> int:
        """Runs, as far as is known by now."""
        # A search that has found no setting leaves nothing to confirm.
        hopeless = is_over(self.slots) and best_slot(self.slots) is None
        return len(self.slots) + (0 if hopeless else self.num_confirms)

    @property
    def num_ended(self) -> int:
        """Of these, how many have ended."""
        return sum(slot.state.is_finished() for slot in self.slots) + len(self.confirmed)


@dataclass(frozen=True)
class StudySnapshot:
    """All systems."""

    systems: Mapping[str, SystemSnapshot]
    seen_at: float
    """By the monotonic clock."""

    @property
    def num_planned(self) -> int:
        """Runs, as far as is known by now."""
        return sum(system.num_planned for system in self.systems.values())

    @property
    def num_ended(self) -> int:
        """Of these, how many have ended."""
        return sum(system.num_ended for system in self.systems.values())

    @property
    def paused_share(self) -> float:
        """As of a system."""
        return sum(system.paused_share for system in self.systems.values())
