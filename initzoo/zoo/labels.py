"""The labels of splits, methods and figures: one name in tables, cards, plots, page and help.

The keys are those of reports and the index. This module imports nothing heavy, so that help can use it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BAND",
    "DIAGNOSIS",
    "GRID",
    "INK",
    "METHODS",
    "QUESTIONS",
    "QUIET",
    "SCORED",
    "SPLITS",
    "STARTS",
    "TARGETS",
    "Label",
]

INK, QUIET, BAND, GRID = "#1e1e22", "#6e6e76", "#e9e9ee", "#f1f1f4"
"""Colours of main text, secondary text, background areas and grid lines."""

_RED, _BLUE, _YELLOW = "#d1495b", "#2f6db3", "#e0a030"
_PURPLE, _GREEN, _PALE = "#7b5ea7", "#3a8f5c", "#b9bec7"


@dataclass(frozen=True)
class Label:
    """The names of one thing.

    Args:
        short: name in table heads and legends.
        long: name for readers who meet it for the first time; `short` by default.
        meaning: an explanation in a sentence.
        colour: colour in plots.

    Example:
        >>> Label("base").long, Label("base", "its base with a blank adapter").long
        ('base', 'its base with a blank adapter')
    """

    short: str
    long: str = ""
    meaning: str = ""
    colour: str = QUIET

    def __post_init__(self) -> None:
        """Use the short name by default."""
        object.__setattr__(self, "long", self.long or self.short)


SPLITS = {
    "train": Label(
        "train",
        meaning="what the base, the shared A and everything else that is tuned may see",
    ),
    "heldout-composed": Label(
        "new combinations",
        "new combinations of known looks",
        "new combinations of known parts; nothing but their own fit saw them",
        _BLUE,
    ),
    "heldout-new": Label(
        "something new",
        "something new: a word, colour, strength or operator",
        "a word, strength, colour or operator that no train concept uses",
        _RED,
    ),
}
"""The splits of a zoo's concepts."""

SCORED = {
    "untouched": Label("untouched", "untouched photo"),
    "mean": Label("mean of zoo", "mean of the zoo"),
    "trained": Label("checkpoint"),
}
"""The scores in the table of a checkpoint: two references and its own."""

QUESTIONS = {
    "train-unseen-wordings": Label("taught concepts, unseen wordings", colour=_PALE),
    "heldout-composed": SPLITS["heldout-composed"],
    "heldout-new": SPLITS["heldout-new"],
    "own-concepts": Label("own concepts", colour=_BLUE),
}
"""The kinds of questions in an evaluation of a weight generator."""

METHODS = {
    "mean": Label("mean adapter", "mean adapter: knows nothing of the words"),
    "shuffled": Label("generated, from somebody else's words"),
    "nearest": Label("nearest wording's adapter"),
    "knn": Label("mean of the nearest neighbours"),
    "kernel_ridge": Label("kernel ridge", "kernel ridge from words to adapter"),
    "generated": Label("generated"),
    "pull": Label(
        "answer of pull",
        "answer of pull: the checkpoint that the words mean, or generated weights",
        "that of a zoo which holds the train concepts alone, found by their training wordings",
    ),
    "trained": Label("adapter trained on the concept itself"),
}
"""The methods that an evaluation compares, from the floor to the ceiling."""

STARTS = {
    "pix2pix_book": Label(
        "pix2pix by the book",
        meaning="pix2pix by the book: U-Net, PatchGAN + 100 L1, Adam (0.5, 0.999), batch 1, its own schedule",
        colour=QUIET,
    ),
    "unet_l1": Label(
        "its U-Net, L1 alone",
        meaning="the same U-Net without the discriminator",
        colour=_PALE,
    ),
    "scratch_best": Label(
        "scratch, best classical start",
        "the same network from the best classical initialization",
        "the zoo's network from the best classical initialization",
        _GREEN,
    ),
    "base": Label(
        "base",
        "its base with a blank adapter",
        "the zoo's network from its base with an adapter of zeros",
        _BLUE,
    ),
    "mean": Label(
        "mean of the zoo",
        "the mean of the zoo's checkpoints",
        "the zoo's network from the mean of its train checkpoints",
        _PURPLE,
    ),
    "nearest": Label(
        "nearest checkpoint",
        "the checkpoint with the nearest wording",
        "the zoo's network from the train checkpoint with the nearest wording",
        _YELLOW,
    ),
    "generated": Label(
        "generated",
        meaning="the zoo's network from what the weight generator makes of the words",
        colour=_RED,
    ),
    "fitted": Label(
        "fitted to pairs",
        "a start fitted to eight of the pairs and the words",
        "the zoo's network from what pull --like makes of eight training pairs and words, its time counted",
        INK,
    ),
}
"""The starts that a benchmark compares."""

TARGETS = {
    "within_3db": Label("within 3 dB of the best", "to within 3 dB of the best", colour=_RED),
    "within_1db": Label("within 1 dB of the best", "to within 1 dB of the best", colour=_BLUE),
    "its_best": Label("to the best that it reaches itself", colour=_PALE),
}
"""The target qualities of a benchmark."""

DIAGNOSIS = {
    "forward": Label("signal, of the photos'", colour=_BLUE),
    "backward": Label("gradient, of that at the output", colour=_RED),
    "duplicated": Label("duplicated", colour=_PURPLE),
    "dead": Label("dead", colour=QUIET),
    "saturated": Label("saturated", colour=_YELLOW),
}
"""The figures of each layer in a diagnosis."""
