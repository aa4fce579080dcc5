"""Progress on standard error: a bar for each stage of long work; without a terminal, a line per tenth.

A stage that takes a few seconds is one line.
"""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["StageBars"]

_QUICK_SECONDS = 5.0
"""A stage of less than this time prints a single line, seconds."""


class StageBars:
    """A progress bar for the current stage; a new bar starts with each stage.

    Without a terminal, as in a job on a cluster, one line is printed per tenth of a stage, and a single line
    for a stage of a few seconds.

    Args:
        options: options of tqdm for every bar.

    Example:
        >>> with StageBars(unit="step") as bars:
        ...     bars.show("tune", 1, 10)
        ...     bars.show("measure", 3, 20, note="loss 0.1000")
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None
        self._lines: _Lines | None = None
        self._stage = ""

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:  # an error prints its own message only
            self._end_lines()

    def show(self, stage: str, n_done: int, n_all: int, *, note: str = "", rate_unit: str = "") -> None:
        """Update the bar of a stage.

        Args:
            stage: name of the stage.
            n_done: number of items done.
            n_all: total number of items.
            note: text after the bar.
            rate_unit: unit of the items; if given, the rate per minute replaces the note.
        """
        if not sys.stderr.isatty():
            self._show_line(stage, n_done, n_all, note, rate_unit)
            return
        from tqdm import tqdm

        if stage != self._stage:
            if self._bar is not None:
                self._bar.close()
            self._stage = stage
            # `initial` excludes the work of an earlier run from the speed.
            self._bar = tqdm(total=n_all, initial=n_done, desc=stage, file=sys.stderr, **self._options)
        self._bar.update(n_done - self._bar.n)
        rate = self._bar.format_dict["rate"] if rate_unit else None
        if rate:
            note = f"{60 * rate:.1f} {rate_unit}/min"
        if note:
            self._bar.set_postfix_str(note, refresh=False)

    def _show_line(self, stage: str, n_done: int, n_all: int, note: str, rate_unit: str) -> None:
        if self._lines is None or stage != self._stage:
            self._end_lines()
            self._stage, self._lines = stage, _Lines(stage, n_done, n_all)
        _print_line(self._lines.line_at(n_done, note, rate_unit))

    def _end_lines(self) -> None:
        if self._lines is not None:
            _print_line(self._lines.held_back)
            self._lines = None


def _print_line(line: str) -> None:
    if line:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Lines:
    """The lines of a stage: one per tenth from now on, or a single one if the stage is done.

    Attributes:
        held_back: the latest line that is not printed because the stage may end within seconds, or empty.
    """

    def __init__(self, stage: str, n_done: int, n_all: int) -> None:
        self._stage, self._n_first, self._n_all = stage, n_done, n_all
        self._began = time.monotonic()
        self._tenth = self._tenth_of(n_done) if n_done < n_all else -1
        self.held_back = ""

    def _tenth_of(self, n_done: int) -> int:
        return 10 * n_done // max(self._n_all, 1)

    def line_at(self, n_done: int, note: str, rate_unit: str) -> str:
        """The line to print for `n_done` items; empty if no line is due."""
        tenth = self._tenth_of(n_done)
        if tenth <= self._tenth or self._n_all == 0:
            return ""
        seconds = time.monotonic() - self._began
        line = self._line(n_done, seconds, note, rate_unit)
        if seconds < _QUICK_SECONDS and n_done < self._n_all:
            self.held_back = line
            return ""
        self._tenth, self.held_back = tenth, ""
        return line

    def _line(self, n_done: int, seconds: float, note: str, rate_unit: str) -> str:
        n_new = n_done - self._n_first
        parts = [f"{self._stage}: {n_done} of {self._n_all} ({100 * n_done // self._n_all}%)"]
        if note:
            parts.append(note)
        if n_new > 0 and seconds > 0:
            if rate_unit:
                parts.append(f"{60 * n_new / seconds:.1f} {rate_unit}/min")
            if n_done < self._n_all:
                parts.append(f"{_duration(seconds * (self._n_all - n_done) / n_new)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds.

    Example:
        >>> _duration(75.4), _duration(3675)
        ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
