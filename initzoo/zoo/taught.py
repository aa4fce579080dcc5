"""A zoo as if it held its train concepts alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from initzoo.zoo.index import Index
from initzoo.zoo.zoo import Zoo

if TYPE_CHECKING:
    from initzoo.generator import PhraseEncoder
    from initzoo.zoo.effects import Effects

__all__ = ["TaughtZoo"]


class TaughtZoo(Zoo):
    """A zoo as if it held its train concepts of the default recipe alone, by their training wordings.

    Its index has neither held-out concepts nor test wordings, so `route` and `pull` answer as they would if
    nobody had ever made a checkpoint of a held-out concept, or written a test wording down. All other files
    are those of the zoo. Its phrase encoder is the same, too, and may know the names of looks that only
    held-out concepts have: such words are known to be no look of a train concept.

    Args:
        zoo: the whole zoo.

    Raises:
        InvalidZoo: its index is damaged.
        OutputError: the folder of temporary files cannot be written.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> [one.route("daguerreotype").concept_id for one in (zoo, TaughtZoo(zoo))]
        ['daguerreotype', None]
    """

    def __init__(self, zoo: Zoo) -> None:
        super().__init__(zoo.files)
        self.zoo = zoo
        self.index = Index.of(
            replace(row, test_prompts=())
            for row in zoo.index.each_row(split="train")
            if row.recipe == zoo.recipe.name  # as in `Zoo.all_blocks`: others have another layout
        )

    def __reduce__(self) -> tuple[type[Zoo], tuple[Any]]:
        """Pickle the whole zoo: another process makes the index again."""
        return TaughtZoo, (self.zoo,)

    @cached_property
    def effects(self) -> Effects | None:
        """What the checkpoints of the whole zoo do."""
        return self.zoo.effects

    @cached_property
    def phrases(self) -> PhraseEncoder | None:
        """The phrase encoder of the whole zoo, which is loaded once for both."""
        return self.zoo.phrases
