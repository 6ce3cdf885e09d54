"""The exceptions of `pipelines`.

    PipelineError
    ├── UsageError          what the user asked for cannot be: a wrong name, key or value
    ├── DataUnavailable     a data set could not be had from anywhere
    ├── DataDamaged         files are there but not what they should be
    │   └── TooManyProblems more of them than a person allowed
    ├── RunBusy             another process works on the same folder
    ├── ExportRefused       an exported model does not answer as the trained one does
    ├── ReleaseRefused      a version is worse than the stable one, or damaged, or another one has its place
    └── PublishFailed       a destination could not be read or written

Messages are one line for people: what is wrong, what was expected, what was received, and the way out.
"""


class PipelineError(Exception):
    """Base of all. `exit_code` is what a command ends with."""

    exit_code = 1


class UsageError(PipelineError):
    """The request itself is wrong; nothing was begun."""

    exit_code = 2


class DataUnavailable(PipelineError):
    """No source of a data set worked."""


class DataDamaged(PipelineError):
    """A file's content is not what it should be."""


class TooManyProblems(DataDamaged):
    """More files have problems than a person allowed; nothing was published."""


class RunBusy(PipelineError):
    """The folder is locked by another process."""


class ExportRefused(PipelineError):
    """The exported model failed its check and was not published."""


class ReleaseRefused(PipelineError):
    """The version may not have the label or the place; nothing was changed."""


class PublishFailed(PipelineError):
    """The destination could not be read or written. No server sees a part of a version; the same command goes on."""
