"""When what happens in a run."""

from dataclasses import dataclass

from mdet_openmm.simulation.settings import RunSettings

CHECK_STEPS = 10
"""Steps between two looks at the state; they cost no force call."""


@dataclass(frozen=True)
class Schedule:
    """When what happens, in steps since the start of the equilibration.

    Attributes
    ----------
    equilibrate
        Steps before the first that counts.
    total
        Last step.
    report, checkpoint
        Steps between reports (counted from the end of the equilibration) and between checkpoints.
    equivariance
        Steps between two measurements of the equivariance error, a multiple of `report`; 0: never.
    cycle
        Of multiple time steps; all others are multiples of it, because between cycles alone the forces belong together.
    """

    equilibrate: int
    total: int
    report: int
    checkpoint: int
    equivariance: int = 0
    cycle: int = 1

    def reports(self, step: int) -> bool:
        """Whether a frame and a log row are due at this step."""
        return step > self.equilibrate and (step - self.equilibrate) % self.report == 0

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint is due at this step."""
        return step in (self.equilibrate, self.total) or step % self.checkpoint == 0

    def measures_equivariance(self, step: int) -> bool:
        """Whether a measurement of the equivariance error is due at this step, one of those that report."""
        return self.equivariance > 0 and step > self.equilibrate and (step - self.equilibrate) % self.equivariance == 0

    def frames(self, step: int) -> int:
        """How many frames a run has at this step."""
        return max(0, step - self.equilibrate) // self.report

    def next_stop(self, step: int) -> int:
        """The next step at which something is due."""
        if step < self.equilibrate:
            due = self.equilibrate
        else:
            due = self.equilibrate + (self.frames(step) + 1) * self.report
        ahead = max(1, CHECK_STEPS // self.cycle) * self.cycle
        return min(step + ahead, due, (step // self.checkpoint + 1) * self.checkpoint, self.total)


def make_schedule(settings: RunSettings) -> Schedule:
    """Turn the intervals of resolved settings into whole steps, or whole cycles of them, at least one each."""
    cycle = settings.multiple_time_steps or 1

    def whole(steps: int) -> int:
        return -(-steps // cycle) * cycle

    equilibrate = whole(round(1000.0 * settings.equilibrate / settings.timestep))
    report = whole(max(1, round(settings.report_interval / settings.timestep)))
    return Schedule(
        equilibrate=equilibrate,
        total=equilibrate + (settings.steps or 0),
        report=report,
        checkpoint=whole(max(1, round(1000.0 * settings.checkpoint_interval / settings.timestep))),
        # Where the run stops anyway, so that the steps are taken in the same portions with and without it.
        equivariance=-(-(settings.watch_equivariance or 0) // report) * report,
        cycle=cycle,
    )
