"""Descriptions of inits for visitors, and the commands that continue from them."""

from __future__ import annotations

import shlex

from initzoo import __version__
from initzoo.checkpoints import Init, blend_inits
from initzoo.zoo import BUNDLED_ZOO, Zoo

__all__ = ["blend_commands", "file_name", "finetune_commands", "tell_init", "tell_prospect"]


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
    """Describe the weights in a sentence or two of plain words.

    Example:
        >>> tell_init(Zoo.from_pretrained("starter").pull("pencil sketch"))
        "An exact checkpoint of the zoo: 'pencil-sketch', trained for this look. It scores ... dB ..."
    """
    metadata = init.metadata
    if metadata.origin == "blended":
        return f"A blend: {metadata.source}."
    if metadata.origin == "generated":
        seed = 0 if metadata.generation is None else metadata.generation.seed
        return f"Generated: the weights were made from the words just now, with seed {seed}."
    psnr = metadata.scores.get("psnr")
    score = "" if psnr is None else f" It scores {psnr:.1f} dB on photos that it never saw."
    kind = (
        "The checkpoint that the words mean"
        if metadata.origin == "matched"
        else "An exact checkpoint of the zoo"
    )
    return f"{kind}: '{metadata.concept}', trained for this look.{score}"


def tell_prospect(init: Init) -> str:
    """Describe the distance of the words from the zoo's wordings, and its effect on the picture.

    Example:
        >>> tell_prospect(Zoo.from_pretrained("starter").pull("pencil sketch"))
        'The zoo knows these words.'
    """
    generation = init.metadata.generation
    if init.metadata.origin == "blended":
        return "Nobody has measured blends: look at the picture."
    if generation is None:
        return "The zoo knows these words."
    if generation.expected_psnr is None or generation.distance is None:
        return "This zoo does not say how far words are from what it knows: look at the picture."
    low, high = (round(value) for value in generation.expected_psnr)
    if generation.is_far:
        return (
            f"The words are far from everything the zoo knows: the picture may have little to do with them "
            f"(expected {low} to {high} dB). Try one of the nearest concepts, or plainer words."
        )
    how_near = "very near" if generation.distance < 0.1 else "near"
    return (
        f"The words are {how_near} what the zoo knows: expected {low} to {high} dB, more is nearer the look."
    )


def finetune_commands(zoo: Zoo, init: Init) -> str:
    """The commands that reproduce this init on another machine and fine-tune it on the user's pairs.

    Zoo, revision and seed are pinned. The revision of a zoo in a folder, which another machine cannot
    open by name, is given in a comment.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> print(finetune_commands(zoo, zoo.pull("pencil sketch")))
        pip install "initzoo==..."
        # zoo starter, revision ...
        initzoo pull "pencil sketch" --exact -o pencil-sketch.safetensors
        initzoo finetune pencil-sketch.safetensors --pairs my-pairs -o pencil-sketch-mine.safetensors
    """
    metadata, name, zoo_part = init.metadata, file_name(init), _zoo_part(zoo)
    lines = [f'pip install "initzoo=={__version__}"', f"# zoo {zoo.name}, revision {zoo.revision}"]
    draw = "--exact" if metadata.generation is None else f"--generate --seed {metadata.generation.seed}"
    adapter = " --adapter-only" if init.kind == "adapter" else ""
    # Words that start with a hyphen would be parsed as an option.
    words = metadata.wording
    before, after = (f" {_quoted(words)}", "") if words[:1] != "-" else ("", f" -- {_quoted(words)}")
    lines.append(f"initzoo pull{before} {draw}{adapter}{zoo_part} -o {name}{after}")
    return "\n".join([*lines, _finetune(name, zoo_part)])


def blend_commands(zoo: Zoo, first: Init, second: Init, share: float) -> str:
    """The commands that reproduce this blend on another machine and fine-tune it.

    Args:
        zoo: the zoo of both inits.
        first: the init at share 0, merged.
        second: the init at share 1, merged.
        share: weight of `second`, 0 to 1.

    Example:
        >>> zoo = Zoo.from_pretrained("starter")
        >>> print(blend_commands(zoo, zoo.pull("pencil sketch"), zoo.pull("night"), 0.5))
        pip install "initzoo==..."
        python - <<'END'
        from initzoo import Zoo, blend_inits
        zoo = Zoo.from_pretrained('starter')  # revision ...
        first = zoo.pull('pencil sketch', origin='exact')
        second = zoo.pull('night', origin='exact')
        blend_inits(first, second, 0.5).save('pencil-sketch-50-night-50.safetensors')
        END
        initzoo finetune pencil-sketch-50-night-50.safetensors --pairs my-pairs -o ...-mine.safetensors
    """
    name = file_name(blend_inits(first, second, share))
    pulls = [
        f"{name_of} = zoo.pull({init.metadata.wording!r}, origin={init.metadata.origin!r}"
        + (")" if init.metadata.generation is None else f", seed={init.metadata.generation.seed})")
        for name_of, init in (("first", first), ("second", second))
    ]
    return "\n".join(
        [
            f'pip install "initzoo=={__version__}"',
            "python - <<'END'",
            "from initzoo import Zoo, blend_inits",
            f"zoo = Zoo.from_pretrained({zoo.address!r})  # revision {zoo.revision}",
            *pulls,
            f"blend_inits(first, second, {share:g}).save({name!r})",
            "END",
            _finetune(name, _zoo_part(zoo)),
        ]
    )


def _zoo_part(zoo: Zoo) -> str:
    return "" if zoo.address == BUNDLED_ZOO else f" --zoo {shlex.quote(zoo.address)}"


def _finetune(name: str, zoo_part: str) -> str:
    mine = name.replace(".safetensors", "-mine.safetensors")
    return f"initzoo finetune {name} --pairs my-pairs{zoo_part} -o {mine}"


def _quoted(words: str) -> str:
    """Quote words for a shell, with double quotes if they suffice."""
    plain = all(letter.isalnum() or letter in " ,.-'" for letter in words)
    return f'"{words}"' if plain else shlex.quote(words)
