"""What the workflow itself uses and no stage does: the config and its points, jobs, locks, the machine it runs on."""

from selfdraft.errors import StudyError

__all__ = ["StudyError"]
