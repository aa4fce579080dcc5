"""Descriptions of inits for visitors, and the commands that continue from them."""

from __future__ import annotations

import shlex

from initzoo.checkpoints import Init, blend_inits
from initzoo.zoo import BUNDLED_ZOO, Zoo

__all__ = [
    "file_name",
    "mix_commands",
    "pull_commands",
    "tell_details",
    "tell_init",
    "tell_prospect",
    "train_commands",
    "use_commands",
]


def file_name(init: Init) -> str:
    """The file name of an init, from its concept, seed and kind.

    Example:
        >>> file_name(Zoo.from_pretrained("starter").pull("pencil sketch", adapter_only=True))
        'pencil-sketch-adapter.safetensors'
    """
    generation = init.metadata.generation
    seed = f"-seed{generation.seed}" if generation is not None and generation.seed else ""
    kind = "-adapter" if init.kind == "adapter" else ""
    return f"{init.metadata.concept}{seed}{kind}.safetensors"


def tell_init(init: Init) -> str:
    """Describe the weights in a sentence of plain words.

    Example:
        >>> tell_init(Zoo.from_pretrained("starter").pull("pencil sketch"))
        'The zoo has a network that was trained for this look.'
    """
    metadata = init.metadata
    if metadata.origin == "blended":
        return "A mix: weights between those of the two looks."
    if metadata.origin == "generated":
        return "No network was trained for these words: its weights were made from them just now."
    if metadata.origin == "fitted":
        return "These weights were fitted to your pairs just now."
    if metadata.origin == "matched":
        look = metadata.concept.replace("--", ", ").replace("-", " ")
        return f"The zoo has a network for what these words mean: {look}."
    return "The zoo has a network that was trained for this look."


def tell_strength(asked: float, strength: float) -> str:
    """Say that words of degree set the strength of an edit; empty if they do not.

    Args:
        asked: strength that the words ask for.
        strength: strength of the picture, which a visitor may have changed.

    Example:
        >>> tell_strength(0.5, 0.5), tell_strength(1.0, 1.5)
        ('The words ask for strength 0.5.', '')
        >>> tell_strength(0.5, 0.75)
        'The words ask for strength 0.5, and the picture has 0.75.'
    """
    if asked == 1:
        return ""
    shown = "" if strength == asked else f", and the picture has {strength:g}"
    return f"The words ask for strength {asked:g}{shown}."


def tell_prospect(init: Init) -> str:
    """Describe how near words are to the zoo's wordings, or how well pairs are met; may be empty.

    Example:
        >>> tell_prospect(Zoo.from_pretrained("starter").pull("pencil sketch"))
        ''
    """
    generation, fitting = init.metadata.generation, init.metadata.fitting
    if fitting is not None and fitting.loss_untouched:
        share = max(0.0, 1 - fitting.loss_after / fitting.loss_untouched)
        held = (
            "the pairs that were held back"
            if fitting.n_held_back
            else "the part of the pair that was held back"
        )
        much = "more than 99%" if share > 0.99 else f"{share:.0%}"
        return f"They make {much} of the change in {held}."
    if init.metadata.origin == "blended":
        return "Nobody has measured mixes, so look at the picture."
    if generation is None:
        return ""
    if generation.is_far is None:
        return "This zoo does not say how well it knows the words, so look at the picture."
    if generation.is_far:
        return (
            "The words are far from everything that the zoo knows, so the picture may have little to do with "
            "them. Try one of the similar looks, or plainer words."
        )
    return "The zoo knows words like these, so the picture should be near."


def tell_details(zoo: Zoo, init: Init) -> list[tuple[str, str]]:
    """Names and values for those who want numbers: scores, origin, licence, digest.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> tell_details(zoo, zoo.pull("pencil sketch"))[0]
        ('Concept', 'pencil-sketch')
    """
    metadata, generation = init.metadata, init.metadata.generation
    rows = [("Concept", metadata.concept), ("Origin", metadata.origin)]
    psnr = metadata.scores.get("psnr")
    if psnr is not None:
        rows.append(("Score on new photos", f"{psnr:.1f} dB PSNR against the look's own filter"))
    if metadata.fitting is not None:
        rows.append(("Begun from", metadata.fitting.start))
        rows.append(("On what was held back", metadata.fitting.prospect))
    if generation is not None:
        rows.append(("Seed", str(generation.seed)))
    if generation is not None and generation.expected_psnr is not None:
        low, high = generation.expected_psnr
        rows.append(("Expected score", f"{low:.0f} to {high:.0f} dB PSNR, more is nearer"))
        rows.append(("Distance of the words", f"{generation.distance:.2f} of 1"))
    rows += [("Zoo", f"{zoo.name}, revision {zoo.revision[:12]}"), ("Licence", metadata.licence)]
    return [*rows, ("Weights", f"sha256 {init.sha256[:16]}")]


def use_commands(zoo: Zoo, init: Init, *, wheel: str, strength: float, photo_url: str) -> str:
    """The commands that give the page's picture in an empty folder: install, pull, apply.

    Zoo and seed are pinned. The revision of a zoo in a folder, which another machine cannot open by name, is
    given in a comment.

    Args:
        zoo: the zoo.
        init: the init, merged.
        wheel: address of a wheel of initzoo, or empty if there is none.
        strength: strength of the edit.
        photo_url: address of a photo to try it on.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> init = zoo.pull("pencil sketch")
        >>> print(use_commands(zoo, init, wheel="", strength=0.5, photo_url="http://127.0.0.1:7860/photo/coffee"))
        # zoo starter, revision ...
        initzoo pull "pencil sketch" --exact -o pencil-sketch.safetensors
        curl -sSo photo.png "http://127.0.0.1:7860/photo/coffee"  # or put your own photo here
        initzoo apply pencil-sketch.safetensors photo.png --strength 0.5 -o pencil-sketch.png
    """
    name = file_name(init)
    lines = [f'pip install "{wheel}"'] if wheel else []
    lines += [f"# zoo {zoo.name}, revision {zoo.revision}", _pull(zoo, init)]
    lines.append(f'curl -sSo photo.png "{photo_url}"  # or put your own photo here')
    return "\n".join([*lines, _apply(name, strength)])


def mix_commands(
    zoo: Zoo, ends: tuple[Init, Init], share: float, *, wheel: str, strength: float, photo_url: str
) -> str:
    """The commands that give the picture of a mix in an empty folder.

    Args:
        zoo: the zoo of both inits.
        ends: the inits at share 0 and 1, merged.
        share: weight of the second.
        wheel, strength, photo_url: as for `use_commands`.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> ends = zoo.pull("pencil sketch"), zoo.pull("night")
        >>> print(mix_commands(zoo, ends, 0.5, wheel="", strength=1, photo_url="http://127.0.0.1/photo/coffee"))
        python - <<'END'
        from initzoo import Zoo, blend_inits
        zoo = Zoo.from_pretrained('starter')  # revision ...
        first = zoo.pull('pencil sketch', origin='exact')
        second = zoo.pull('night', origin='exact')
        blend_inits(first, second, 0.5).save('pencil-sketch-50-night-50.safetensors')
        END
        curl -sSo photo.png "http://127.0.0.1/photo/coffee"  # or put your own photo here
        initzoo apply pencil-sketch-50-night-50.safetensors photo.png -o pencil-sketch-50-night-50.png
    """
    name = file_name(blend_inits(*ends, share))
    pulls = [
        f"{name_of} = zoo.pull({init.metadata.wording!r}, origin={init.metadata.origin!r}"
        + (")" if init.metadata.generation is None else f", seed={init.metadata.generation.seed})")
        for name_of, init in zip(("first", "second"), ends, strict=True)
    ]
    return "\n".join(
        [
            *([f'pip install "{wheel}"'] if wheel else []),
            "python - <<'END'",
            "from initzoo import Zoo, blend_inits",
            f"zoo = Zoo.from_pretrained({zoo.address!r})  # revision {zoo.revision}",
            *pulls,
            f"blend_inits(first, second, {share:g}).save({name!r})",
            "END",
            f'curl -sSo photo.png "{photo_url}"  # or put your own photo here',
            _apply(name, strength),
        ]
    )


def train_commands(zoo: Zoo, init: Init, concept: str) -> str:
    """The commands that train the downloaded file further on pairs, with pairs to begin with.

    Args:
        zoo: the zoo.
        init: the init, merged.
        concept: a concept of the catalog, whose pairs stand in for the user's own; empty if they have some.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> print(train_commands(zoo, zoo.pull("pencil sketch"), "pencil-sketch"))
        initzoo pairs pencil-sketch --out my-pairs  # pairs to try it with: put your own into A and B
        initzoo finetune pencil-sketch.safetensors --pairs my-pairs -o pencil-sketch-mine.safetensors
    """
    name = file_name(init)
    mine = name.replace(".safetensors", "-mine.safetensors")
    made = f"initzoo pairs {concept} --out my-pairs  # pairs to try it with: put your own into A and B"
    own = "# my-pairs: a folder with your photos before in A, and after in B"
    train = f"initzoo finetune {name} --pairs my-pairs{_zoo_part(zoo)} -o {mine}"
    return "\n".join([made if concept else own, train])


def pull_commands(zoo: Zoo, init: Init, *, strength: float = 1.0) -> str:
    """The command that reproduces this init on another machine, for programs.

    Args:
        zoo: its zoo.
        init: the init.
        strength: strength of the edit.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> print(pull_commands(zoo, zoo.pull("pencil sketch")))
        # zoo starter, revision ...
        initzoo pull "pencil sketch" --exact -o pencil-sketch.safetensors
        initzoo apply pencil-sketch.safetensors photo.png -o pencil-sketch.png
    """
    revision = f"# zoo {zoo.name}, revision {zoo.revision}"
    return "\n".join([revision, _pull(zoo, init), _apply(file_name(init), strength)])


def _pull(zoo: Zoo, init: Init) -> str:
    metadata = init.metadata
    if metadata.fitting is not None:  # whose pairs are the visitor's own
        words = f" {_quoted(metadata.wording)}" if metadata.wording and metadata.wording[0] != "-" else ""
        pull = f"initzoo pull{words} --like my-pairs{_zoo_part(zoo)} -o {file_name(init)}"
        return f"{pull}  # my-pairs: your photos before in A, after in B"
    how = "--match" if metadata.origin == "matched" else "--exact"
    draw = how if metadata.generation is None else f"--generate --seed {metadata.generation.seed}"
    adapter = " --adapter-only" if init.kind == "adapter" else ""
    # Words that start with a hyphen would be parsed as an option.
    words = metadata.wording
    before, after = (f" {_quoted(words)}", "") if words[:1] != "-" else ("", f" -- {_quoted(words)}")
    return f"initzoo pull{before} {draw}{adapter}{_zoo_part(zoo)} -o {file_name(init)}{after}"


def _apply(name: str, strength: float) -> str:
    much = "" if strength == 1 else f" --strength {strength:g}"
    return f"initzoo apply {name} photo.png{much} -o {name.replace('.safetensors', '.png')}"


def _zoo_part(zoo: Zoo) -> str:
    return "" if zoo.address == BUNDLED_ZOO else f" --zoo {shlex.quote(zoo.address)}"


def _quoted(words: str) -> str:
    """Quote words for a shell, with double quotes if they suffice."""
    plain = all(letter.isalnum() or letter in " ,.-'" for letter in words)
    return f'"{words}"' if plain else shlex.quote(words)
