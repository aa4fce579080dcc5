"""Progress on standard error: a bar for each stage of long work, none without a terminal."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["StageBars"]


class StageBars:
    """The bar of the stage that work is in; a new one begins when the stage changes.

    Args:
        options: of tqdm, for every bar.

    Example:
        >>> with StageBars(unit="step") as bars:
        ...     bars.show("tune", 1, 10)
        ...     bars.show("measure", 3, 20, note="loss 0.1000")
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._bar: Any = None
        self._stage = ""

    def __enter__(self) -> StageBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, stage: str, n_done: int, n_all: int, *, note: str = "", rate_unit: str = "") -> None:
        """Move the stage's bar to where the stage is.

        Args:
            stage: its name.
            n_done: things done.
            n_all: things in all.
            note: stands after the bar.
            rate_unit: what is counted; then the note is how many of it a minute takes.
        """
        from tqdm import tqdm

        if stage != self._stage:
            if self._bar is not None:
                self._bar.close()
            self._stage = stage
            # What was done by an earlier run counts for no speed.
            self._bar = tqdm(
                total=n_all, initial=n_done, desc=stage, file=sys.stderr, disable=None, **self._options
            )
        self._bar.update(n_done - self._bar.n)
        rate = self._bar.format_dict["rate"] if rate_unit else None
        if rate:
            note = f"{60 * rate:.1f} {rate_unit}/min"
        if note:
            self._bar.set_postfix_str(note, refresh=False)
