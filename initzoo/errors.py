"""The failures that initzoo itself reports; catch `InitzooError` to catch them all."""


class InitzooError(Exception):
    """Base of every failure that initzoo reports on purpose.

    The message is one line: what was looked at, what was found, what to do next.
    """


class InitzooWarning(UserWarning):
    """Something that initzoo did in another way than asked, e.g. without a file that it cannot read.

    The message is one line.
    """


class UnknownConcept(InitzooError):
    """The words name no concept of the zoo."""


class UnknownZoo(InitzooError):
    """No bundled zoo, no folder and no repo or revision on the Hub of that name."""


class AccessDenied(InitzooError):
    """A repo on the Hub is private or gated, or the token may not write to it."""


class HubUnavailable(InitzooError):
    """The Hub is needed, but offline, out of reach or failing."""


class PublishRefused(InitzooError):
    """A zoo is not fit to be published, or the Hub holds something that publishing would break."""


class InvalidConcepts(InitzooError):
    """A concepts file has an unknown operator, parameter or key, or a value out of range."""


class InvalidWords(InitzooError):
    """Words are empty, too long, or hold nothing that the weight generator can read."""


class InvalidGenerator(InitzooError):
    """A weight generator on disk is missing, damaged, or made for another base or layout."""


class InvalidImage(InitzooError):
    """A file is no image that initzoo can read, or it is too small or too large."""


class InvalidZoo(InitzooError):
    """A zoo's index, shard or base is missing, damaged or of another format version."""


class InvalidInit(InitzooError):
    """A file is no init, or its weights are damaged."""


class LayoutMismatch(InitzooError):
    """Weights have other names, shapes or blocks than the layout expects."""


class ChecksumMismatch(InitzooError):
    """Bytes on disk are not the bytes that the index promises."""


class OutputError(InitzooError):
    """A result cannot be written: it exists already, or the place is not writable."""


class TeacherError(InitzooError):
    """A teacher failed on a photo or gave something that is not an image."""


class HarvestError(InitzooError):
    """A harvest cannot start or go on, e.g. its folder belongs to another recipe."""


class TrainingError(InitzooError):
    """A training of the weight generator cannot start or go on."""


class WorkerDied(InitzooError):
    """A process that shared the work ended without a result."""


class UnknownInitialization(InitzooError):
    """No initialization has that name, or none of that name fits the network."""


class InvalidPairs(InitzooError):
    """Pairs do not match, are too few or too small, or cannot be read."""


class DeviceUnavailable(InitzooError):
    """The device that was asked for is not there."""


class FinetuneError(InitzooError):
    """A fine-tune cannot start or go on, e.g. because it diverged."""


class BenchmarkError(InitzooError):
    """A benchmark cannot start or go on."""


class MissingExtra(InitzooError):
    """A feature needs a package that is not installed."""


class InvalidRequest(InitzooError):
    """A request holds a value of a wrong type, out of range, or that nothing would read."""
