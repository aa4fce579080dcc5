"""Fills pages at build time: tables of scores, the command line and the Python reference.

A page names the part in a fence, whose content is a note for readers of the Markdown file:

    ```{generated} generator
    Generated from catalog/model/evaluation.json.
    ```

Before the page is parsed, the fence is replaced by the Markdown that the function in `GENERATED` returns.

A file that is read as it is, such as README.md, holds the generated text itself between two comments:

    <!-- generated: classical -->
    <!-- end of generated -->

`make tables` (this file as a program) rewrites what is between them, and a test compares.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import initzoo
from initzoo.cli.main import main
from initzoo.evaluation.benchmark.figures import leading_ratios
from initzoo.evaluation.benchmark.time_to_quality import bound_of
from initzoo.zoo import Zoo
from initzoo.zoo.cards.tables import markdown_table
from initzoo.zoo.labels import METHODS, QUESTIONS, SCORED, SPLITS, STARTS, TARGETS

__all__ = ["GENERATED", "fill", "refresh", "setup"]

CATALOG = Path(__file__).parents[2] / "catalog"
_ABLATIONS = Path(__file__).parents[1] / "ablations.json"
"""Other ways of training, from `generator evaluate --also NAME=FOLDER ...` on the zoo of 0.1."""
_FENCE = re.compile(r"^```\{generated\} ([\w-]+)\n.*?^```$", re.DOTALL | re.MULTILINE)
_BETWEEN = re.compile(
    r"(?<=^<!-- generated: )([\w-]+)( -->\n).*?(?=^<!-- end of generated -->$)", re.DOTALL | re.MULTILINE
)
_MISSING = "–"
_SECONDS = ("2", "10")
"""Times after which the summary compares starts."""

_SIMPLE = ("nearest", "knn", "kernel_ridge")
"""Methods without a network, of which a summary names the best."""


def fill(text: str, catalog: Path = CATALOG) -> str:
    """Replace the fences of a page.

    Args:
        text: the page, as Markdown.
        catalog: the zoo that scores are read from.

    Raises:
        ExtensionError: a fence names a part that does not exist, or a report is missing.
    """

    return _FENCE.sub(lambda match: _generate(match[1], catalog), text)


def refresh(text: str, catalog: Path = CATALOG) -> str:
    """Rewrite what is between the comments of a file.

    Args:
        text: the file, as Markdown.
        catalog: the zoo that scores are read from.

    Raises:
        ExtensionError: a comment names a part that does not exist, or a report is missing.
    """

    def part(match: re.Match[str]) -> str:
        return f"{match[1]}{match[2]}\n{_generate(match[1], catalog)}\n\n"

    return _BETWEEN.sub(part, text)


def _generate(name: str, catalog: Path) -> str:
    if name not in GENERATED:
        raise ExtensionError(f"no generated part {name!r}; there are {', '.join(GENERATED)}")
    return GENERATED[name](catalog)


def read_report(path: Path) -> dict[str, Any]:
    """Read a report of `generator evaluate` or `bench`."""
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ExtensionError(f"cannot read '{path}', from which a page is made: {error}") from error
    return report


def summary(catalog: Path) -> str:
    """The headline figures: checkpoints, generated weights, and what a start is worth."""
    rows = [row for row in Zoo.from_pretrained(catalog).index.rows(split="train") if row.psnr is not None]
    lines = [
        f"**Checkpoints** of {len(rows):,} looks: {_mean(row.psnr for row in rows)} dB on average on scoring "
        f"photos that training never sees; untouched photos have {_mean(row.psnr_untouched for row in rows)}."
    ]
    report = read_report(catalog / "model" / "evaluation.json")
    for split, text in (
        ("heldout-composed", "**Generated weights**, new combinations of known looks"),
        ("train-unseen-wordings", "Generated weights, known looks in words that no training saw"),
        ("heldout-new", "Generated weights, something new (a word, strength, colour or operator)"),
    ):
        scores, gap = report[split]["psnr"], report[split]["gap_closed"]
        simple = [(scores[name], METHODS[name].short) for name in _SIMPLE if scores.get(name)]
        psnr, best = max(simple)
        lines.append(
            f"{text}: {scores['generated']:.1f} dB, {gap:.2f} of the gap between the zoo's mean "
            f"({scores['mean']:.1f}) and weights trained for the look ({scores['trained']:.1f}). "
            f"The best simple method, {best}: {psnr:.1f}."
        )
    bench = read_report(catalog / "model" / "bench.json")
    ours, ratios = leading_ratios(bench)
    names = ("generated", "base", "scratch_best", "pix2pix_book")
    first, later = (
        [_number(row[name] and row[name]["psnr"]) for name in names]
        for row in (bench["after_seconds"][seconds] for seconds in _SECONDS)
    )
    scratch, base = (_ratio(ratios[name]["within_3db"]) for name in ("scratch_best", "base"))
    earlier = " (earlier zoo)" if bench["generator_sha256"] != report["generator"] else ""
    unit = "a start fitted to pairs" if ours == "fitted" else "generated weights"
    lines.append(
        f"**Fine-tuning** {bench['n_concepts']} held-out looks{earlier}: after {_SECONDS[0]} seconds of a "
        f"core, generated weights have {first[0]} dB, the base {first[1]}, the best random start {first[2]}, "
        f"pix2pix by the book {first[3]}; after {_SECONDS[1]}, {', '.join(later)}. To within 3 dB of the "
        f"best, random weights take {scratch} times as long as {unit}, the base {base}."
    )
    return "\n".join(f"- {line}" for line in lines)


def zoo_table(catalog: Path) -> str:
    """Size and revision of the zoo."""
    zoo = Zoo.from_pretrained(catalog)
    rows = zoo.index.rows()
    shapes = zoo.recipe.weight_shapes
    n_weights = sum(_product(shape) for shape in shapes.values())
    n_bytes = sum(row.byte_end - row.byte_start + row.detail_bytes for row in rows)
    lines = [
        ("revision", f"`{zoo.revision[:7]}`"),
        ("checkpoints", f"{len(rows):,}"),
        *((f"of these, {label.long}", f"{_count(rows, split):,}") for split, label in SPLITS.items()),
        ("checkpoints with a detail", f"{sum(row.has_detail for row in rows):,}"),
        ("wordings", f"{sum(len(row.prompts) + len(row.test_prompts) for row in rows):,}"),
        ("families", ", ".join(sorted({row.family for row in rows}))),
        ("weights of the network", f"{n_weights:,}"),
        ("values of an adapter", f"{zoo.layout.n_values:,} in {zoo.layout.n_blocks} blocks"),
        ("bytes of all checkpoints", f"{n_bytes / 1e6:.1f} MB"),
    ]
    return markdown_table(("zoo", zoo.recipe.name), lines)


def checkpoint_tables(catalog: Path) -> str:
    """Scores of the checkpoints by family, a table per split."""
    zoo = Zoo.from_pretrained(catalog)
    tables = []
    for split, label in SPLITS.items():
        rows = [row for row in zoo.index.rows(split=split) if row.psnr is not None]
        if not rows:
            continue
        lines = []
        for family in [*sorted({row.family for row in rows}), "all"]:
            group = [row for row in rows if family in (row.family, "all")]
            scores = [
                f"{_mean(row.scores[f'psnr{kind}'] for row in group)} "
                f"({_mean((row.scores[f'ssim{kind}'] for row in group), digits=3)})"
                for kind in ("_untouched", "_mean", "")
            ]
            tenth = sorted(row.psnr for row in group if row.psnr is not None)[len(group) // 10]
            lines.append((family, f"{len(group):,}", *scores, f"{tenth:.1f}"))
        head = ("family", "concepts", *(score.long for score in SCORED.values()), "10th percentile")
        tables.append(f"{label.long[0].upper()}{label.long[1:]}:\n\n{markdown_table(head, lines)}")
    return "\n\n".join(tables)


def weakest_checkpoints(catalog: Path, n: int = 8) -> str:
    """The checkpoints with the lowest scores, and how many do worse than the untouched photo."""
    rows = [row for row in Zoo.from_pretrained(catalog).index.rows() if row.psnr is not None]
    lowest = sorted((row.psnr, row.concept_id) for row in rows if row.psnr is not None)[:n]
    n_worse = sum((row.psnr or 0) < (row.psnr_untouched or 0) for row in rows)
    names = ", ".join(f"{concept_id} ({psnr:.1f} dB)" for psnr, concept_id in lowest)
    return f"The weakest checkpoints are {names}. Below the untouched photo are {n_worse:,} of {len(rows):,}."


def generator_table(catalog: Path) -> str:
    """PSNR of the weight generator and of simpler methods, per kind of question."""
    report = read_report(catalog / "model" / "evaluation.json")
    splits = [split for split in QUESTIONS if split in report]
    lines = []
    for method, label in METHODS.items():
        cells = [_with_interval(report[split], method) for split in splits]
        if set(cells) != {_MISSING}:
            lines.append([f"**{label.long}**" if method == "generated" else label.long, *cells])
    lines.append(
        [
            "share of the gap from mean to trained that is closed",
            *(_gap_closed(report[split]) for split in splits),
        ]
    )
    answers = [report[split].get("pull", {}) for split in splits]
    if any(answers):
        shares = [one.get("checkpoint_share") for one in answers]
        lines.append(["the same by the answer of pull", *map(_gap_closed, answers)])
        lines.append(
            [
                "wordings for which pull takes a checkpoint",
                *(_MISSING if share is None else f"{share:.0%}" for share in shares),
            ]
        )
    for name in ("concepts", "wordings"):
        lines.append([name, *(f"{report[split][f'n_{name}']:,}" for split in splits)])
    return markdown_table(["PSNR in dB", *(QUESTIONS[split].short for split in splits)], lines)


def _gap_closed(figures: Mapping[str, Any]) -> str:
    """A share of the gap and its interval."""
    if figures.get("gap_closed") is None:
        return _MISSING
    low, high = figures["gap_closed_interval"]
    return f"{figures['gap_closed']:.2f} [{low:.2f}, {high:.2f}]"


def novelty_table(catalog: Path) -> str:
    """Scores of concepts with something new, by what is new."""
    kinds = read_report(catalog / "model" / "evaluation.json").get("heldout-new", {}).get("novelty", {})
    methods = [method for method in METHODS if any(method in part["psnr"] for part in kinds.values())]
    lines = [
        [f"new {kind}", str(part["n_concepts"]), *(_number(part["psnr"].get(method)) for method in methods)]
        for kind, part in kinds.items()
    ]
    return markdown_table(["PSNR in dB", "concepts", *(METHODS[method].short for method in methods)], lines)


def variant_table(catalog: Path) -> str:
    """Generators that were trained in another way: their PSNR, and how far they are from the reference."""
    report = read_report(_ABLATIONS)
    splits = [split for split in QUESTIONS if split in report]
    lines = []
    for name in report.get("also", {}):
        cells = []
        for split in splits:
            lead = report[split].get("difference_to_reference", {}).get(name)
            cell = _with_interval(report[split], name)
            if lead is not None:
                low, high = (-end for end in reversed(lead["interval"]))
                cell += f"; {-lead['psnr']:+.1f} [{low:.1f}, {high:.1f}]"
            cells.append(cell)
        lines.append([f"`{name}`", *cells])
    return markdown_table(["PSNR in dB", *(QUESTIONS[split].short for split in splits)], lines)


def generator_facts(catalog: Path) -> str:
    """Calibration, speed, wordings and machine of the evaluation, as a list."""
    report = read_report(catalog / "model" / "evaluation.json")
    machine = report["machine"]
    lines = [
        f"Zoo revision `{report['revision'][:7]}`, weight generator `{report['generator'][:7]}`.",
        report["wordings"],
        f"Intervals are {report['intervals']['level']:.0%} bootstrap intervals over "
        f"{report['intervals']['over']}, {report['intervals']['n_resamples']:,} resamples.",
        f"One init takes {report['speed']['init_ms']:.1f} ms on one core after the model is loaded.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}.",
    ]
    if calibration := report.get("calibration"):
        lines.append(
            f"Of {calibration['n_tested']} held-out wordings that the calibration did not see, "
            f"{calibration['coverage']:.0%} fell into their predicted range, nominally "
            f"{calibration['level']:.0%}."
        )
    if memory := report.get("memorisation"):
        overlap = memory["wrong_pixels"]["overlap_with_nearest"]
        lines.append(
            "Memorisation: the wrong pixels of a generated init and of its nearest checkpoint overlap by "
            f"{_number(overlap['generated'], 2)} (intersection over union), those of a copy with as much "
            f"noise by {_number(overlap['noisy_copy'], 2)}."
        )
    return "\n".join(f"- {line}" for line in lines)


def benchmark_table(catalog: Path) -> str:
    """Time to quality of each start."""
    report = read_report(catalog / "model" / "bench.json")
    targets = [name for name in ("within_3db", "within_1db") if name in TARGETS]
    head = ["start", "ms a step"]
    for target in targets:
        head += [f"seconds {TARGETS[target].long}", "ratio"]
    head += [f"ratio {TARGETS['its_best'].long}", "dB at the end"]
    ours, leading = leading_ratios(report)
    lines = []
    for method, values in report["methods"].items():
        label = STARTS[method].short
        line = [f"**{label}**" if method == ours else label, f"{1000 * values['step_seconds']:.0f}"]
        ratios = leading.get(method, {})
        for target in targets:
            time = values["time"][target]
            bound = "≥ " if time["n_reached"] < report["n_concepts"] else ""
            line += [f"{bound}{time['seconds']:.2f}", _ratio(ratios.get(target))]
        line += [_ratio(ratios.get("its_best")), _number(report["final"]["psnr"][method])]
        lines.append(line)
    return markdown_table(head, lines)


def benchmark_seconds(catalog: Path) -> str:
    """PSNR after equal times, by start."""
    report = read_report(catalog / "model" / "bench.json")
    table = report["after_seconds"]

    def cell(found: Mapping[str, Any] | None) -> str:
        if found is None:
            return _MISSING
        low, high = found["interval"]
        return f"{found['psnr']:.1f} [{low:.1f}, {high:.1f}]"

    lines = [
        [STARTS[method].short, *(cell(row[method]) for row in table.values())] for method in report["methods"]
    ]
    return markdown_table(["start", *(f"dB after {seconds} s" for seconds in table)], lines)


def benchmark_facts(catalog: Path) -> str:
    """Rules, settings and machine of the benchmark, as a list."""
    report = read_report(catalog / "model" / "bench.json")
    settings, machine = report["settings"], report["machine"]
    lengths = ", ".join(map(str, report["lengths"]))
    lines = [
        f"{report['n_concepts']} held-out concepts, schedules of {lengths} steps, crops of "
        f"{settings['crop_size']} pixels, device {settings['device']}.",
        report["rules"],
        f"Machine: {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}. "
        f"Zoo revision `{report['revision'][:7]}`.",
        "“≥”: on some concepts the baseline did not reach the target with its longest schedule. “≈”: on some "
        f"the {leading_ratios(report)[0]} start did not, either.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def classical_table(catalog: Path) -> str:
    """The classical starts of the benchmark, and what `diagnose` says of each."""
    rows = read_report(catalog / "model" / "bench.json")["classical"]
    lengths = list(rows[0]["psnr"]) if rows else []
    lines = [
        [
            row["name"],
            *(_number(row["psnr"][length]) for length in lengths),
            row["verdict"],
            "yes" if row["agrees"] else "no",
        ]
        for row in rows
    ]
    head = [
        "classical start",
        *(f"dB after {n} steps" for n in lengths),
        "`diagnose` says",
        "does that agree",
    ]
    return markdown_table(head, lines)


def command_line(catalog: Path) -> str:
    """Every command, by section, from click."""
    by_section: dict[str, list[str]] = {}
    for name, file in main.files.items():
        by_section.setdefault(file.section, []).append(name)
    context = _context(main, "initzoo", None)
    return "\n\n".join(
        "\n\n".join([f"## {section}", *(_command(context, name, level=3) for name in sorted(names))])
        for section, names in by_section.items()
    )


def python_reference(catalog: Path) -> str:
    """Every public name, in the order of the package's docstring, for autodoc."""
    names = re.findall(r"^    (\w+)  ", initzoo.__doc__ or "", re.MULTILINE)
    if unlisted := set(initzoo.__all__) ^ set(names):
        raise ExtensionError(f"the docstring of initzoo and its __all__ differ in {', '.join(unlisted)}")
    parts = []
    for name in names:
        is_class = inspect.isclass(getattr(initzoo, name))
        directive = (
            f".. autoclass:: initzoo.{name}\n   :members:"
            if is_class
            else f".. autofunction:: initzoo.{name}"
        )
        parts.append(f"## {name}\n\n```{{eval-rst}}\n{directive}\n```")
    return "\n\n".join(parts)


GENERATED: dict[str, Callable[[Path], str]] = {
    "summary": summary,
    "zoo": zoo_table,
    "checkpoints": checkpoint_tables,
    "weakest": weakest_checkpoints,
    "generator": generator_table,
    "generator-facts": generator_facts,
    "novelty": novelty_table,
    "variants": variant_table,
    "benchmark": benchmark_table,
    "benchmark-seconds": benchmark_seconds,
    "benchmark-facts": benchmark_facts,
    "classical": classical_table,
    "command-line": command_line,
    "python": python_reference,
}
"""The parts that a page can name, and the functions that return their Markdown."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""

    def read(app: Sphinx, docname: str, source: list[str]) -> None:
        source[0] = fill(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    # Wide, so that no usage line wraps.
    return click.Context(command, info_name=name, parent=parent, terminal_width=1000, max_content_width=1000)


def _command(parent: click.Context, name: str, *, level: int) -> str:
    """A command as a section: help, usage, options and example; for a group, its commands after it."""
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None
    context = _context(command, name, parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{'#' * level} {context.command_path}", *_paragraphs(command.help or ""), _code(usage)]
    records = [record for param in command.get_params(context) if (record := param.get_help_record(context))]
    options = [(f"`{names}`".replace("|", r"\|"), _escaped(text)) for names, text in records if text]
    parts.append(markdown_table(("option", "meaning"), options))
    if command.epilog:
        parts.append("Example:\n\n" + _code(inspect.cleandoc(command.epilog.partition("Example:")[2])))
    if isinstance(command, click.Group):
        parts += [_command(context, sub, level=level + 1) for sub in command.list_commands(context)]
    return "\n\n".join(parts)


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text; those that click does not wrap become code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield _code(paragraph.removeprefix("\b").strip("\n"))
        else:
            yield _escaped(" ".join(paragraph.split()))


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def _escaped(text: str) -> str:
    """Plain text as Markdown, also in the cell of a table; what is in backticks stays."""
    return re.sub(r"(`[^`|]*`)|([\\*_<>\[\]|`$])", lambda match: match[1] or "\\" + match[2], text)


def _with_interval(section: Mapping[str, Any], method: str) -> str:
    if section["psnr"].get(method) is None:
        return _MISSING
    low, high = section["psnr_interval"][method]
    return f"{section['psnr'][method]:.1f} [{low:.1f}, {high:.1f}]"


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    """A ratio with its bound and interval; 1 for the generated start itself."""
    if ratio is None:
        return "1"
    sign = {"at least": "≥ ", "about": "≈ ", "": ""}[bound_of(ratio)]
    low, high = ratio["interval"]
    return f"{sign}{ratio['ratio']:.1f} [{low:.1f}, {high:.1f}]"


def _number(value: float | None, digits: int = 1) -> str:
    return _MISSING if value is None else f"{value:.{digits}f}"


def _mean(values: Iterator[float | None], *, digits: int = 1) -> str:
    known = [value for value in values if value is not None]
    return _number(sum(known) / len(known) if known else None, digits)


def _count(rows: Sequence[Any], split: str) -> int:
    return sum(row.split == split for row in rows)


def _product(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(refresh(path.read_text("utf-8")), "utf-8")
