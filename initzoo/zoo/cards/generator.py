"""The section of the model's card on the weight generator, filled in from its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from initzoo.errors import InvalidZoo
from initzoo.zoo.cards.tables import inert_values, markdown_table
from initzoo.zoo.labels import METHODS, QUESTIONS
from initzoo.zoo.zoo import Zoo

__all__ = ["generator_section"]


def generator_section(zoo: Zoo) -> str:
    """The card's section on the weight generator; empty if the zoo has no generator.

    Args:
        zoo: a zoo in a folder.

    Raises:
        InvalidZoo: the generator's config or `evaluation.json` cannot be read.
    """
    if not zoo.has_generator:
        return ""
    folder = zoo.generator_folder
    config = _read(folder / "config.json")
    report = _read(zoo.folder / "model" / "evaluation.json")
    training = config["training"]
    splits = [split for split in QUESTIONS if split in report]
    return (
        files(__package__)
        .joinpath("generator.md")
        .read_text("utf-8")
        .format(
            kind=config["kind"],
            n_weights=f"{_count_weights(folder / 'model.safetensors'):,}",
            n_train=f"{config['n_train_concepts']:,}",
            practice=_practice(training),
            n_wordings=f"{training['n_wordings']:,}",
            weight_steps=f"{_n_steps(training, 'weights'):,}",
            behaviour=_behaviour(training),
            words=_words(config),
            wordings=report["wordings"],
            table=markdown_table(
                ["method", *(QUESTIONS[split].short for split in splits)], _lines(report, splits)
            ),
            pulled=_pulled(report, splits),
            further=_further(report, splits),
            novelty=_novelty(report),
            memory=_memory(report["memorisation"]),
            calibration=_calibration(report["calibration"]),
            init_ms=f"{report['speed']['init_ms']:.1f}",
            processor=report["machine"]["processor"],
        )
    )


def _words(config: dict[str, Any]) -> str:
    """How words enter."""
    source = f"{config['text']['encoder']} ({config['text']['licence']})"
    if config["shape"].get("encoder") == "phrases":
        return (
            f"Words enter as the\ntoken states of {source}, as the phrase as a whole,\n"
            "which the zoo's phrase encoder reads, and as CIE Lab values of the colours that they name."
        )
    return (
        f"Words enter as static token vectors, distilled\nfrom {source}, and as learned ones for words of\n"
        "the train wordings."
    )


def _practice(training: Mapping[str, Any]) -> str:
    n_practice = training.get("n_practice", 0)
    if not n_practice or not _n_steps(training, "behaviour"):
        return ""
    return f", from {n_practice:,} further concepts of their looks (second stage only: no checkpoints)"


def _behaviour(training: Mapping[str, Any]) -> str:
    n_steps = _n_steps(training, "behaviour")
    return f", then on the error of images ({n_steps:,} steps)" if n_steps else ""


def _n_steps(training: Mapping[str, Any], stage: str) -> int:
    """Steps of a stage, including those of earlier trainings that it continued."""
    earlier = training.get("start")
    steps: int = training[stage]["n_steps"]
    return steps + (_n_steps(earlier, stage) if earlier else 0)


def _lines(report: Mapping[str, Any], splits: Sequence[str]) -> list[list[str]]:
    """One line per method that was measured, then the shares of the gap closed and the counts."""
    lines = [
        [
            f"**{label.short}**" if method == "generated" else label.short,
            *(_figures(report[split], method) for split in splits),
        ]
        for method, label in METHODS.items()
        if any(method in report[split]["psnr"] for split in splits)
    ]
    lines.append(["gap closed by generated", *(_closed(report[split]) for split in splits)])
    answers = _answers_of_pull(report, splits)
    if any(answers):
        lines.append(["gap closed by pull", *(_closed(one) if one else "" for one in answers)])
        shares = [f"{one['checkpoint_share']:.1%}" if one else "" for one in answers]
        lines.append(["checkpoints taken by pull", *shares])
    counts = [f"{report[split]['n_concepts']} / {report[split]['n_wordings']}" for split in splits]
    return [*lines, ["concepts / wordings", *counts]]


def _answers_of_pull(report: Mapping[str, Any], splits: Sequence[str]) -> list[dict[str, Any] | None]:
    """The figures of what `pull` answers, by split; None where it was not measured."""
    return [report[split].get("pull") for split in splits]


def _closed(section: Mapping[str, Any]) -> str:
    """The share of the gap closed, and its interval."""
    share, ends = section["gap_closed"], section["gap_closed_interval"]
    return "-" if share is None else f"{share:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _pulled(report: Mapping[str, Any], splits: Sequence[str]) -> str:
    """What the row of `pull` is; empty if it was not measured."""
    if not any(_answers_of_pull(report, splits)):
        return ""
    label = METHODS["pull"]
    return f'\n"{label.short[0].upper()}{label.short[1:]}" is {label.meaning}.'


def _figures(section: Mapping[str, Any], method: str) -> str:
    """Mean, its interval and the 10th percentile; empty for a method that was not measured."""
    if method not in section["psnr"]:
        return ""
    low, high = section["psnr_interval"][method]
    return f"{section['psnr'][method]:.2f} [{low:.2f}, {high:.2f}] \\| {section['psnr_10th'][method]:.1f}"


def _further(report: Mapping[str, Any], splits: Sequence[str]) -> str:
    """A table of further generators: how their training differs, and how their scores do."""
    also = report["also"]
    if not also:
        return ""
    reference = also.get("reference", {}).get("training")
    lines = []
    for name, summary in also.items():
        training = summary["training"]
        steps = " + ".join(f"{_n_steps(training, stage):,}" for stage in ("weights", "behaviour"))
        cells = []
        for split in splits:
            section = report[split]
            lead = section.get("difference_to_reference", {}).get(name)
            cell = _figures(section, name)
            if lead is not None:
                cell += f" \\| {-lead['psnr']:+.2f} [{-lead['interval'][1]:.2f}, {-lead['interval'][0]:.2f}]"
            cells.append(cell)
        lines.append([name, _changes(reference or training, training), steps, *cells])
    text = (
        "\nFurther generators, measured on the same questions and photos: what was other in their settings, "
        "steps of both stages, and after the second bar what they are above `reference`, paired by "
        "concept.\n\n"
    )
    return (
        text
        + markdown_table(["name", "changed", "steps", *(QUESTIONS[split].short for split in splits)], lines)
        + "\n"
    )


def _changes(reference: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """The settings that differ from the reference's; those of the stages have their own column."""
    settings = {key: value for key, value in training.items() if key not in ("weights", "behaviour", "start")}
    changed = {key: value for key, value in settings.items() if reference.get(key, value) != value}
    return ", ".join(f"`{key}` {json.dumps(value)}" for key, value in changed.items())


def _novelty(report: Mapping[str, Any]) -> str:
    """Scores of the `heldout-new` concepts by what is new in them."""
    kinds = report.get("heldout-new", {}).get("novelty", {})
    if not kinds:
        return ""
    methods = ["mean", "nearest", "kernel_ridge", "generated", "trained"]
    if all("pull" in part["psnr"] for part in kinds.values()):
        methods.insert(-1, "pull")
    lines = [
        [
            f"new {kind}",
            str(part["n_concepts"]),
            *(f"{part['psnr'][method]:.2f}" for method in methods),
            "" if part["gap_closed"] is None else f"{part['gap_closed']:.2f}",
        ]
        for kind, part in kinds.items()
    ]
    return "\n" + markdown_table(["what is new", "concepts", *methods, "gap closed"], lines) + "\n"


def _memory(memory: Mapping[str, Any] | None) -> str:
    if memory is None or memory["ratio"] is None:
        return ""
    nearest, overlap = memory["nearest_train"], memory["wrong_pixels"]["overlap_with_nearest"]
    text = (
        "Copies? The median distance of a generated adapter to the nearest train adapter is "
        f"{memory['ratio']:.2f} of the leave-one-out median of the train adapters "
        f"({nearest['generated']:.1f} against {memory['train_leave_one_out']:.1f}). Distance alone proves "
        f"little: held-out trained adapters have {nearest['trained_heldout']:.1f}, Gaussian noise "
        f"of the zoo's spread {nearest['gaussian']:.1f}. "
    )
    if None not in overlap.values():
        text += (
            "So images are compared, too: the pixels that a generated init gets wrong and those of the "
            f"nearest checkpoint overlap by {overlap['generated']:.2f} (intersection over union), those of "
            f"a copy with as much noise by {overlap['noisy_copy']:.2f}."
        )
    return text.rstrip() + "\n"


def _calibration(calibration: Mapping[str, Any] | None) -> str:
    if calibration is None:
        return ""
    return (
        "`initzoo pull` says how far words are from the zoo's, and which PSNR to expect: of "
        f"{calibration['n_tested']} held-out wordings that the range was not made from, "
        f"{calibration['coverage']:.0%} came out inside of it.\n"
    )


def _count_weights(path: Path) -> int:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if name.startswith("denoiser.")]  # noqa: SIM118
            return sum(math.prod(tensors.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise InvalidZoo(f"cannot read '{path}': {error}. Get the weight generator again.") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidZoo(
            f"cannot read '{path}', which the card describes: {reason}. "
            "Write it with: initzoo generator evaluate --out FOLDER"
        ) from error
    if not isinstance(report, dict):
        raise InvalidZoo(f"'{path}' is not the report of an evaluation. Evaluate again.")
    inert: dict[str, Any] = inert_values(report)  # a zoo of somebody else has texts of theirs
    return inert
