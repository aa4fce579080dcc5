"""The errors that initzoo raises; catch `InitzooError` to catch all of them."""

import re
import unicodedata

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"  # of words in Persian and Hindi, and of emoji
_ESCAPE = r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}"
_LONG = re.compile(rf"(?:[^\s/\\]|{_ESCAPE}){{129,}}|(?:{_ESCAPE}){{17,}}")
"""No word, digest or name of a file that somebody gave on purpose."""

_N_KEPT = 60


def printable(text: str) -> str:
    """A text of somebody else as one harmless line: hidden characters are written as escapes.

    Control characters, and with them the escape sequences of terminals and line breaks, marks that change the
    direction of writing, and halves of letters that no encoding has become visible.

    Example:
        >>> printable("a" + chr(27) + "[2J" + chr(0x202E) + "b")
        'a\\\\x1b[2J\\\\u202eb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS
        else letter
        for letter in text
    )


class InitzooError(Exception):
    """Base class of all errors that initzoo raises on purpose.

    The message is one line that names the subject, the problem and the next step.
    """

    def __str__(self) -> str:
        """The message; what comes from files of others is printed short and without control characters."""
        return _LONG.sub(lambda found: f"{found[0][:_N_KEPT]}...", printable(super().__str__()))


class InitzooWarning(UserWarning):
    """Something that initzoo did in another way than asked, e.g. without a file that it cannot read.

    The message is one line.
    """


class UnknownConcept(InitzooError):
    """No concept of the zoo has the given words."""


class UnknownZoo(InitzooError):
    """No bundled zoo, folder, repo or revision on the Hub has the given name."""


class AccessDenied(InitzooError):
    """A repo on the Hub is private or gated, or the token may not write to it."""


class HubUnavailable(InitzooError):
    """The Hub is needed, and it is off, out of reach or failing."""


class PublishRefused(InitzooError):
    """A zoo is not ready to be published, or publishing would break something on the Hub."""


class InvalidConcepts(InitzooError):
    """A concepts file has an unknown operator, parameter or key, or a value out of range."""


class InvalidWords(InitzooError):
    """Words are empty, too long, or unknown to the weight generator."""


class InvalidGenerator(InitzooError):
    """A weight generator on disk is missing, damaged, or made for another base or layout."""


class InvalidImage(InitzooError):
    """A file is not an image that initzoo can read, or it is too small or too large."""


class InvalidZoo(InitzooError):
    """A zoo's index, shard or base is missing, damaged or has another format version."""


class InvalidInit(InitzooError):
    """A file is not an init, or its weights are damaged."""


class LayoutMismatch(InitzooError):
    """Weights have other names, shapes or blocks than the layout expects."""


class ChecksumMismatch(InitzooError):
    """Bytes do not match their recorded digest."""


class InvalidSignature(InitzooError):
    """A zoo is not signed, or not with the key that was asked for, or a key cannot be read."""


class OutputError(InitzooError):
    """A result cannot be written: it exists already, or its folder is not writable."""


class TeacherError(InitzooError):
    """A teacher failed on a photo, or its result is not an image."""


class RefusedPairs(TeacherError):
    """A teacher made pictures that are no good to train on, e.g. black ones, and no other."""


class HarvestError(InitzooError):
    """A harvest cannot start or continue, e.g. because its folder belongs to another recipe."""


class TrainingError(InitzooError):
    """A training of the weight generator cannot start or continue."""


class WorkerDied(InitzooError):
    """A worker process ended without a result."""


class ClusterUnavailable(InitzooError):
    """A Ray cluster cannot be reached, or has other versions of Ray or Python than this machine."""


class UnknownInitialization(InitzooError):
    """An initialization is unknown, or does not fit the network."""


class InvalidPairs(InitzooError):
    """Pairs do not match, are too few or too small, or cannot be read."""


class DeviceUnavailable(InitzooError):
    """The requested device is not available."""


class FinetuneError(InitzooError):
    """A fine-tune cannot start or continue, e.g. because it diverged."""


class BenchmarkError(InitzooError):
    """A benchmark cannot start or continue."""


class MissingExtra(InitzooError):
    """A feature needs a package that is not installed."""


class InvalidRequest(InitzooError):
    """A value of a request has a wrong type, is out of range, or would be ignored."""
