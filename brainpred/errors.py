"""The exceptions brainpred raises: one tree, so a caller can catch all of them at once."""

__all__ = [
    "BrainpredError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ManifestError",
    "MemoryBudgetError",
]


class BrainpredError(Exception):
    """Stand for every error that brainpred raises on purpose.

    The message says what is wrong, what was expected, what was received and what to do about it.
    """


class ConfigError(BrainpredError, ValueError):
    """Report an option, argument or name that cannot be used (command line: exit code 2)."""


class DataError(BrainpredError, ValueError):
    """Report a scan, movie or feature file whose content cannot be used (exit code 1)."""


class ManifestError(BrainpredError):
    """Report a data set manifest that is missing or malformed (exit code 1)."""


class CheckpointError(BrainpredError):
    """Report weights or saved results that do not fit what is asked of them (exit code 1)."""


class MemoryBudgetError(BrainpredError):
    """Report a job that would need more memory than it was given (exit code 1)."""
