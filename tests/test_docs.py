"""The documentation builds without a warning, its commands exist, and its tables are those of the reports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
from test_house import check_command, commands_in

import initzoo
from initzoo.cli.main import main
from initzoo.files.images import write_image
from initzoo.zoo.cards import dataset_card, model_card
from initzoo.zoo.labels import METHODS, STARTS
from initzoo.zoo.zoo import Zoo

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SKIPPED = 'NOT TESTED: the documentation. pip install "initzoo[docs]" to build it'


@pytest.fixture(scope="module")
def generated() -> Iterator[ModuleType]:
    """The extension that fills the pages."""
    pytest.importorskip("sphinx", reason=SKIPPED)
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield import_module("generated")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def needs_site(test: Any) -> Any:
    """A test of the built documentation, which one process of the tests builds, not each of them."""
    return pytest.mark.long(pytest.mark.xdist_group("site")(test))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as HTML, built as `make docs` builds it."""
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason=SKIPPED)
    recipe = re.search(r"^docs:.*\n\t\S+/sphinx-build (.*) -d \S+ docs \S+$", read("Makefile"), re.MULTILINE)
    assert recipe, "make docs runs sphinx-build"
    folder = tmp_path_factory.mktemp("docs")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *recipe[1].split(),
        "-d",
        folder / "doctrees",
        DOCS,
        folder / "html",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return folder / "html"


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def cells_of(table: str) -> dict[str, list[str]]:
    """The lines of a Markdown table by their first cell."""
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]
    return {line[0]: line[1:] for line in lines[2:]}


def test_warnings_are_errors_in_make_docs_and_ci_has_the_extra() -> None:
    assert "-W" in re.search(r"^\t.*sphinx-build.*$", read("Makefile"), re.MULTILINE)[0].split()
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    (everything,) = (one for one in extras["dev"] if one.startswith("initzoo["))
    assert "docs" in re.split(r"[\[\],]", everything)


@needs_site
def test_the_documentation_builds_without_a_warning(site: Path) -> None:
    assert {path.stem for path in PAGES} <= {path.stem for path in site.glob("*.html")}
    assert (site / "_images" / "grid.jpg").is_file()
    for page in site.glob("*.html"):
        assert "{generated}" not in page.read_text("utf-8"), page.name


def check_commands(page: str) -> None:
    """A page names every command with all its options."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f"initzoo {name}" in page
        for param in command.params:
            if isinstance(param, click.Option) and param.help and not param.hidden:
                assert max(param.opts, key=len) in page, f"{name} {param.opts}"
    assert "initzoo generator train" in page


def test_every_page_is_filled_and_names_all_commands_and_public_names(generated: ModuleType) -> None:
    """Of the pages as Markdown; building them is a test of `make test-long`."""
    filled = {page.stem: generated.fill(page.read_text("utf-8")) for page in PAGES}
    assert not any("{generated}" in text for text in filled.values())
    check_commands(filled["command-line"])
    for name in initzoo.__all__:
        assert f":: initzoo.{name}\n" in filled["python"]
    assert "automodule:: initzoo.errors\n   :members:\n" in filled["python"]


@needs_site
def test_every_command_with_all_its_options_is_in_the_documentation(site: Path) -> None:
    check_commands((site / "command-line.html").read_text("utf-8"))


@needs_site
def test_every_public_name_is_in_the_documentation(site: Path) -> None:
    page = (site / "python.html").read_text("utf-8")
    for name in initzoo.__all__:
        assert f'id="initzoo.{name}"' in page
    assert 'id="initzoo.Zoo.pull"' in page
    assert 'id="initzoo.errors.ChecksumMismatch"' in page


@needs_site
def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    for page in site.glob("*.html"):
        assert not re.search(r'<(script|img|iframe)[^>]* src="(https?:)?//', page.read_text("utf-8")), (
            page.name
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.startswith("# ")
    for words in commands_in(text):
        check_command(words)
    for link in re.findall(r"\]\(([^)#\s]*)(?:#[\w-]*)?\)", text):
        if link and not link.startswith("https://"):
            assert (page.parent / link).is_file(), link


def test_every_page_is_reached_from_the_first() -> None:
    text = (DOCS / "index.md").read_text("utf-8")
    linked = {Path(link).stem for link in re.findall(r"\]\(([\w-]+\.md)\)", text)}
    listed = {name for block in re.findall(r"\{toctree\}(.*?)```", text, re.DOTALL) for name in block.split()}
    stems = {page.stem for page in PAGES} - {"index"}
    assert linked == stems
    assert stems <= listed


def test_python_of_the_pages_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number in range(4):
        photo = rng.integers(0, 256, (64, 64, 3), np.uint8)
        for side, pixels in (("A", photo), ("B", 255 - photo)):
            (tmp_path / "my-pairs" / side).mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / "my-pairs" / side / f"{number}.png", pixels, force=True)
    write_image(tmp_path / "photo.jpg", photo, force=True)
    whole = initzoo.finetune

    def brief(*arguments: Any, n_steps: int, **named: Any) -> Any:
        return whole(*arguments, n_steps=min(n_steps, 1), **named)

    monkeypatch.setattr(initzoo, "finetune", brief)
    blocks = [
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    ]
    assert len(blocks) >= 4
    with warnings.catch_warnings():
        # Whether words are far from the zoo depends on its weight generator.
        warnings.filterwarnings("ignore", "weights for .* are generated")
        for name, block in blocks:
            exec(compile(block, name, "exec"), {})
    assert (tmp_path / "mine.safetensors").is_file()


def test_tables_of_the_weight_generator_are_the_report(generated: ModuleType) -> None:
    report = json.loads(read("catalog/model/evaluation.json"))
    lines = cells_of(generated.GENERATED["generator"](generated.CATALOG))
    splits = [
        split for split in ("train-unseen-wordings", "heldout-composed", "heldout-new") if split in report
    ]
    for method, label in METHODS.items():
        if method in report[splits[0]]["psnr"]:
            name = f"**{label.long}**" if method == "generated" else label.long
            starts = [f"{report[split]['psnr'][method]:.1f} [" for split in splits]
            assert [cell.startswith(start) for cell, start in zip(lines[name], starts, strict=True)] == [
                True
            ] * 3
    assert lines["concepts"] == [f"{report[split]['n_concepts']:,}" for split in splits]


def test_tables_of_the_benchmark_are_the_report(generated: ModuleType) -> None:
    report = json.loads(read("catalog/model/bench.json"))
    lines = cells_of(generated.GENERATED["benchmark"](generated.CATALOG))
    for method, psnr in report["final"]["psnr"].items():
        name = f"**{STARTS[method].short}**" if method == "fitted" else STARTS[method].short
        assert lines[name][-1] == f"{psnr:.1f}"
        ratio = report["ratio_to_fitted"].get(method, {}).get("within_3db", {"ratio": 1})["ratio"]
        assert re.search(rf"\b{ratio:.1f}\b" if method != "fitted" else "^1$", lines[name][2])
    early = cells_of(generated.GENERATED["benchmark-seconds"](generated.CATALOG))
    for method in report["methods"]:
        found = report["after_seconds"]["1"][method]
        assert early[STARTS[method].short][0].split(" ")[0] == (
            "–" if found is None else f"{found['psnr']:.1f}"
        )
    classical = cells_of(generated.GENERATED["classical"](generated.CATALOG))
    assert list(classical) == [row["name"] for row in report["classical"]]


def test_tables_change_with_the_report(generated: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "catalog" / "model", tmp_path / "model", ignore=shutil.ignore_patterns("weight_*"))
    for name in ("evaluation.json", "bench.json"):
        (tmp_path / "model" / name).chmod(0o644)
    report = json.loads(read("catalog/model/evaluation.json"))
    report["heldout-new"]["psnr"]["generated"] = 99.94
    del report["heldout-new"]["psnr"]["knn"]
    for section in (value for value in report.values() if isinstance(value, dict)):
        section.pop("pull", None)
        section.get("psnr", {}).pop("pull", None)
    (tmp_path / "model" / "evaluation.json").write_text(json.dumps(report))
    lines = cells_of(generated.GENERATED["generator"](tmp_path))
    assert not any("pull" in name for name in lines)
    assert lines["**generated**"][-1].startswith("99.9 [")
    assert lines[METHODS["knn"].long][-1] == "–"
    report["heldout-new"]["psnr"]["pull"] = 88.84
    report["heldout-new"]["psnr_interval"]["pull"] = [88.0, 89.0]
    report["heldout-new"]["pull"] = {
        "gap_closed": None,
        "gap_closed_interval": None,
        "checkpoint_share": 0.26,
    }
    (tmp_path / "model" / "evaluation.json").write_text(json.dumps(report))
    lines = cells_of(generated.GENERATED["generator"](tmp_path))
    assert lines[METHODS["pull"].long][1:] == ["–", "88.8 [88.0, 89.0]"]
    assert lines["the same by the answer of pull"] == ["–", "–", "–"]
    assert lines["wordings for which pull takes a checkpoint"] == ["–", "–", "26%"]
    bench = json.loads(read("catalog/model/bench.json"))
    bench["ratio_to_fitted"]["base"]["within_3db"] |= {"ratio": 7.77, "n_at_least": 0, "n_not_reached": 0}
    (tmp_path / "model" / "bench.json").write_text(json.dumps(bench))
    assert cells_of(generated.GENERATED["benchmark"](tmp_path))["base"][2].startswith("7.8 [")


def test_a_table_of_the_zoo_counts_its_rows(generated: ModuleType) -> None:
    rows = initzoo.Zoo.from_pretrained("starter").index.rows()
    assert cells_of(generated.GENERATED["zoo"](generated.CATALOG))["checkpoints"] == [f"{len(rows):,}"]
    table = generated.GENERATED["checkpoints"](generated.CATALOG).split("\n\n")[1]
    colour = [row.psnr for row in rows if (row.split, row.family) == ("train", "colour")]
    assert cells_of(table)["colour"][0] == f"{len(colour):,}"
    assert cells_of(table)["colour"][3].startswith(f"{np.mean(colour):.1f} (")


def test_generated_tables_of_the_readme_are_up_to_date(generated: ModuleType, tmp_path: Path) -> None:
    """If this fails: make tables."""
    readme = read("README.md")
    assert "<!-- generated: " in readme
    assert readme.count("<!-- generated: ") == readme.count("<!-- end of generated -->")
    assert generated.refresh(readme) == readme
    part = "<!-- generated: summary -->\n"
    assert generated.refresh(readme.replace(part, part + "stale\n")) == readme
    (tmp_path / "README.md").write_text(readme.replace(" of the gap ", " of all "))
    program = [sys.executable, DOCS / "_ext" / "generated.py", tmp_path / "README.md"]
    subprocess.run(program, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert (tmp_path / "README.md").read_text("utf-8") == readme


def test_an_unknown_part_and_a_missing_report_are_reported(generated: ModuleType, tmp_path: Path) -> None:
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match="no generated part 'scores'; there are .*zoo, checkpoints"):
        generated.fill("before\n```{generated} scores\na note\n```\n")
    with pytest.raises(ExtensionError, match=r"cannot read '.*bench.json'"):
        generated.fill("```{generated} benchmark\na note\n```\n", tmp_path)
    filled = generated.fill("before\n\n```{generated} classical\na note\n```\n\nafter\n")
    assert filled.startswith("before\n\n| classical start |")
    assert filled.endswith("|\n\nafter\n")


def test_every_extra_that_a_message_names_exists() -> None:
    extras = set(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"])
    folders = ("initzoo", "docs", "spaces", "examples")
    paths = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")
    ]
    named = {
        (extra, str(path.relative_to(ROOT)))
        for path in [*paths, ROOT / "README.md", ROOT / "CHANGELOG.md"]
        for group in re.findall(r"(?:initzoo|\.)\[([a-z,]+)\]", path.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert {"bench", "datasets", "demo", "heif", "ray", "distil", "socks"} <= {extra for extra, _ in named}
    assert {pair for pair in named if pair[0] not in extras} == set()


def test_every_hint_to_install_names_initzoo() -> None:
    """A package that a message asks for is in an extra, with the version that works."""
    hints = {
        (hint, path.name)
        for path in (ROOT / "initzoo").rglob("*.py")
        for hint in re.findall(r"pip install \"?(-U initzoo|[\w.-]+(?:\[\w+\])?)", path.read_text("utf-8"))
    }
    assert len(hints) >= 7
    assert {pair for pair in hints if not re.fullmatch(r"(-U )?initzoo(\[\w+\])?", pair[0])} == set()


def test_cards_of_the_bundled_zoo_are_up_to_date_and_their_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = Zoo.from_pretrained("starter")
    cards = {"dataset": dataset_card(zoo), "model": model_card(zoo)}
    for name, card in cards.items():
        assert read(f"catalog/{name}/README.md") == card, "run write_cards"
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"(?:^    (?:from|\w+ =|init\.).*\n)+", "".join(cards.values()), re.MULTILINE)
    assert len(examples) >= 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "weights for .* are generated")
        for example in examples:
            exec(textwrap.dedent(example), {})
    assert (tmp_path / "start.safetensors").is_file()
