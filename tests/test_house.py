"""The house is in order: light imports, examples that work, a README that names real commands."""

import ast
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import click
import pytest

from initzoo.cli.main import main
from initzoo.zoo import Zoo

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "gradio", "datasets", "pyarrow", "cv2", "skimage", "transformers", "huggingface_hub"}


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a module, for all rooms that ask."""
    return ast.parse(path.read_text("utf-8"))


def modules_after(code: str) -> set[str]:
    """Names of the top-level modules that are loaded when `code` has run in a new process."""
    report = "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    program = f"import sys\ntry:\n    {code}\nfinally:\n    {report}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def commands_in(text: str) -> list[list[str]]:
    """The `initzoo ...` lines of fenced blocks, without prompts, as words."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    lines = [line.removeprefix(".venv/bin/") for line in lines]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("initzoo ")]


def check_command(words: list[str]) -> None:
    """Raise unless click would accept these words: the command exists, and its options do."""
    context = click.Context(main)
    assert words[0] == "initzoo"
    if words[1].startswith("-"):
        return
    command = main.get_command(context, words[1])
    assert command is not None, f"no command {words[1]}"
    command.make_context(words[1], words[2:], parent=context, resilient_parsing=False)


def test_import_initzoo_is_light() -> None:
    assert not modules_after("import initzoo") & (HEAVY | {"numpy", "PIL", "click"})


def test_help_is_light() -> None:
    loaded = modules_after("from initzoo.cli.main import main; main(['--help'])")
    assert "click" in loaded
    assert not loaded & (HEAVY | {"numpy", "PIL", "tqdm"})


def test_options_of_commands_load_no_torch() -> None:
    """They come from settings, whose rooms are entered lazily."""
    code = (
        "import click; from initzoo.cli.main import main; context = click.Context(main)\n"
        "    for group in (main, main.get_command(context, 'generator')):\n"
        "        for name in group.list_commands(context): group.get_command(context, name)"
    )
    loaded = modules_after(code)
    assert "numpy" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_help_of_every_command_ends_with_an_example_that_works(name: str) -> None:
    context = click.Context(main, info_name="initzoo")
    command = main.get_command(context, name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name, parent=context))
    last = text.rstrip().splitlines()[-1].strip()
    assert last.startswith(f"initzoo {name}"), f"the help of {name} ends with: {last}"
    check_command(shlex.split(last))


def test_readme_commands_exist() -> None:
    commands = commands_in((ROOT / "README.md").read_text("utf-8"))
    assert any(words[1] == "pull" for words in commands)
    for words in commands:
        check_command(words)


def test_readme_names_the_set_up_commands_of_the_makefile() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {"pull", "test"} <= set(targets)
    assert set(re.findall(r"^(?:\$ )?make ([a-z]+)", readme, re.MULTILINE)) >= {"pull", "test"}
    assert (ROOT / ".ci" / "run").read_text("utf-8").endswith("\nmake test\nexec make test-long\n")


def test_the_readme_is_short_and_counts_the_checkpoints() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.split()) <= 1200
    assert len(readme.splitlines()) <= 150
    rows = Zoo.from_pretrained("starter").index.rows()
    assert f"holds {len(rows):,} checkpoints" in readme
    families = {row.family for row in rows}
    assert f"{['five', 'six', 'seven'][len(families) - 5]} families" in readme


def test_figures_of_the_readme_were_measured() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    lines = readme[readme.index("<!-- generated: summary -->") :].splitlines()
    report = json.loads((ROOT / "catalog" / "model" / "evaluation.json").read_bytes())
    for split, words in (
        ("heldout-composed", "new combinations of known looks"),
        ("train-unseen-wordings", "known looks in words that no training saw"),
        ("heldout-new", "something new"),
    ):
        (line,) = (line for line in lines if words in line)
        scores, gap = report[split]["psnr"], report[split]["gap_closed"]
        assert f": {scores['generated']:.1f} dB, {gap:.2f} of the gap" in line
        assert f"({scores['mean']:.1f})" in line
        assert f"({scores['trained']:.1f})" in line
        assert line.endswith(f"{max(scores[name] for name in ('nearest', 'knn', 'kernel_ridge')):.1f}.")
    bench = json.loads((ROOT / "catalog" / "model" / "bench.json").read_bytes())
    (line,) = (line for line in lines if "**Fine-tuning**" in line)
    for seconds in ("2", "10"):
        for method in ("generated", "base", "scratch_best", "pix2pix_book"):
            assert f"{bench['after_seconds'][seconds][method]['psnr']:.1f}" in line
    for method in ("scratch_best", "base"):
        ratio = bench["ratio_to_fitted"][method]["within_3db"]
        low, high = ratio["interval"]
        assert f"{ratio['ratio']:.1f} [{low:.1f}, {high:.1f}]" in line


@pytest.mark.parametrize("path", sorted((ROOT / "initzoo").rglob("*.py")), ids=lambda path: path.stem)
def test_modules_and_their_public_names_are_explained(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    public = {
        name
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in public:
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_toml_of_the_documentation_is_a_concepts_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from initzoo.pairs.concepts import load_concepts
    from initzoo.pairs.photos import fit_short_side, load_photos
    from initzoo.pairs.taught import teach
    from initzoo.pairs.written import write_pairs

    monkeypatch.setattr(sys, "path", [*sys.path])  # reading adds the folder, for the modules in it
    page = (ROOT / "docs" / "make-a-zoo.md").read_text("utf-8")
    module = re.search(r"^```python\n(def dream.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert module
    (tmp_path / "looks.py").write_text(module[1])
    released = tmp_path / "denoised-weights" / "paired-images"
    released.mkdir(parents=True)
    photos = [replace(one, pixels=fit_short_side(one.pixels, 96)) for one in load_photos(split="score")[:4]]
    for folder in (tmp_path / "halation-pairs", released / "mosaic"):
        write_pairs(load_concepts()[:1], photos, folder)
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        (tmp_path / "concepts.toml").write_text(block)
        concepts = load_concepts(tmp_path / "concepts.toml")
        assert concepts
        for concept in concepts:
            if concept.teacher.model_id is not None:  # it is not on this machine
                continue
            [(given, wanted)] = teach(concept.teacher, [photos[0].pixels], [0])
            assert (given != wanted).any()


def test_generating_does_not_load_torch() -> None:
    """It would take longer than all else."""
    code = "from initzoo import Zoo; Zoo.from_pretrained('starter').pull('teal dusk', origin='generated')"
    report = "print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{report}"], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "True"]


@cache
def imports_from(path: Path) -> list[ast.ImportFrom]:
    """The `from ... import` lines of a module, in functions too."""
    return [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom)]


ROOMS = sorted(path.parent.name for path in (ROOT / "initzoo").glob("*/__init__.py"))


def test_there_are_twelve_rooms() -> None:
    assert len(ROOMS) == 12


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_entered_by_its_door(room: str) -> None:
    """Modules of other rooms import from the room, or from a folder of it, and not from its modules."""
    package = ROOT / "initzoo"
    deep = []
    for path in package.rglob("*.py"):
        if path.relative_to(package).parts[0] == room:
            continue
        for node in imports_from(path):
            if (node.module or "").startswith(f"initzoo.{room}."):
                target = ROOT / node.module.replace(".", "/")
                if not target.is_dir():
                    deep.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.module}")
    assert deep == []
