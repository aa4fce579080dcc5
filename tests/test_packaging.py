"""What users install: declared packages, a wheel with what the package reads, and a whole sdist."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from sbom_run import bill

ROOT = Path(__file__).parent.parent
BUILD = [sys.executable, "-m", "hatchling", "build"]
OPTIONAL = {"ray"}
"""Packages of a slow test that says when it skips; code asks whether they are there."""


def imported(folder: Path) -> set[str]:
    """Top-level packages that the modules of a folder import anywhere, but for the standard library."""
    names = {name for path in folder.rglob("*.py") for name in imports_of(path)}
    tests = ROOT / "tests"
    own = {"initzoo", *(path.stem for path in tests.glob("*.py"))}
    own |= {path.parent.name for path in tests.glob("*/__init__.py")}
    own |= {path.stem for path in (ROOT / "spaces").glob("*.py")}
    return names - set(sys.stdlib_module_names) - own - OPTIONAL


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.Call) and re.search("(importorskip|find_spec)$", ast.unparse(node.func)):
            yield from (
                str(name.value).partition(".")[0] for name in node.args if isinstance(name, ast.Constant)
            )


def declared(*extras: str) -> set[str]:
    """Normalised names of what pyproject.toml asks for, with some extras, or with all of them but `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    table = project["optional-dependencies"]
    names: set[str] = set()
    for requirement in [
        *project["dependencies"],
        *(one for extra in extras or table.keys() - {"dev"} for one in table[extra]),
    ]:
        if requirement.startswith("initzoo["):
            names |= declared(*requirement.removeprefix("initzoo[").rstrip("]").split(","))
        else:
            names.add(normalised(re.split(r"[<>=!~;\[ ]", requirement)[0]))
    return names


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


owners_of_packages = cache(packages_distributions)
"""Distributions by package: to read all that is installed takes a second."""


needs_owners = pytest.mark.xdist_group("owners")  # one process of the tests reads what is installed


def undeclared(packages: set[str], known: set[str]) -> set[str]:
    """Packages that come with no declared distribution."""
    owners = owners_of_packages()
    return {
        package
        for package in packages
        if not {normalised(owner) for owner in owners.get(package, [package])} & known
    }


@needs_owners
def test_the_check_of_imports_sees_what_is_missing() -> None:
    assert undeclared({"cv2", "click"}, declared() - {"click"}) == {"click"}


@needs_owners
def test_every_package_that_initzoo_imports_is_declared() -> None:
    assert not undeclared(imported(ROOT / "initzoo"), declared())


@needs_owners
def test_every_package_that_tests_import_is_declared() -> None:
    assert not undeclared(imported(ROOT / "tests"), declared("dev") | declared("fuzz"))


def test_every_direct_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {normalised(line.split("==")[0]) for line in lines if "==" in line}
    assert (declared() | declared("dev") | declared("fuzz")) - pinned == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*BUILD, "-t", "wheel", "-d", folder], cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.xdist_group("packaging")
def test_the_wheel_holds_the_package_and_its_zoo_but_no_pictures_of_the_readme(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = [path for path in (ROOT / "initzoo").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    needed += [path for path in (ROOT / "catalog").rglob("*") if path.is_file()]
    # The lexicon, the test phrases and most photos are for those who train or measure.
    apart = tuple(ROOT / "catalog" / name for name in ("pictures", "lexicon", "more_photos"))
    left_out = {path for path in needed if path.parent in apart or path.name == "test_phrases.toml"}
    assert left_out
    for path in needed:
        name = path.relative_to(ROOT).as_posix()
        name = f"initzoo/{name}" if name.startswith("catalog/") else name
        assert (name in names) == (path not in left_out), name


@pytest.mark.long
@pytest.mark.xdist_group("packaging")
def test_a_wheel_that_is_built_again_elsewhere_and_later_has_the_same_bytes(
    wheel: Path, tmp_path: Path
) -> None:
    names = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "initzoo", "catalog")
    for name in names:
        source, target = ROOT / name, tmp_path / "copy" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for number, path in enumerate(sorted((tmp_path / "copy").rglob("*"))):
        os.utime(path, (10**9 + number, 10**9 + number))
        path.chmod(0o700 if path.is_dir() else 0o600)
    environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    subprocess.run(
        [*BUILD, "-t", "wheel", "-d", tmp_path / "dist"],
        cwd=tmp_path / "copy",
        env=environment,
        check=True,
        capture_output=True,
    )
    (again,) = (tmp_path / "dist").glob("*.whl")
    assert again.name == wheel.name
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()


def test_a_bill_of_materials_has_versions_licences_and_digests() -> None:
    report = {
        "install": [
            {"metadata": {"name": "initzoo", "version": "0.2.0"}, "download_info": {"dir_info": {}}},
            {
                "metadata": {
                    "name": "Some_Package",
                    "version": "1.0",
                    "license": "a long text " * 50,
                    "classifier": ["Topic :: X", "License :: OSI Approved :: MIT License"],
                },
                "download_info": {"archive_info": {"hashes": {"sha256": "ab" * 32}}},
            },
        ]
    }
    made = bill(report)
    assert made["metadata"]["component"]["name"] == "initzoo"
    assert made["components"] == [
        {
            "type": "library",
            "name": "some-package",
            "version": "1.0",
            "purl": "pkg:pypi/some-package@1.0",
            "licenses": [{"license": {"name": "MIT License"}}],
            "hashes": [{"alg": "SHA-256", "content": "ab" * 32}],
        }
    ]


def hints() -> list[str]:
    """The commands with which the program asks for a package, e.g. `pip install "initzoo[demo]"`."""
    pattern = re.compile(r'pip install "(initzoo\[\w+\])"')
    texts = [path.read_text("utf-8") for path in (ROOT / "initzoo").rglob("*.py")]
    return sorted({hint for text in texts for hint in pattern.findall(text)})


def check_hints(python: Path | str) -> None:
    """Every hint works where initzoo is installed, from an index or not: it adds what the extra lacks."""
    assert len(hints()) >= 5
    for hint in hints():
        command = [python, "-m", "pip", "install", "-q", "--dry-run", hint]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, (hint, done.stderr[-500:])


@pytest.mark.slow
def test_hints_to_install_work_in_a_checkout() -> None:
    check_hints(sys.executable)


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment_and_so_do_its_hints(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    tools = tmp_path / "venv" / "bin"
    install = [tools / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(install, cwd=tmp_path, check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [tools / "initzoo", *arguments],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    photo = ROOT / "catalog" / "photos" / "coffee.png"
    run("pull", "pencil sketch", "-o", "sketch.safetensors")
    run("apply", "sketch.safetensors", str(photo), "-o", "out.png")
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    assert 'pip install "initzoo[demo]"' in run("demo", code=1)
    check_hints(tools / "python")


@pytest.mark.long
@pytest.mark.xdist_group("packaging")
def test_the_zoo_in_the_wheel_is_sound(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import initzoo, sys; assert initzoo.__file__.startswith(sys.argv[1]), initzoo.__file__;"
        "from initzoo.cli.main import main; main(['verify'])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)


@pytest.mark.long
def test_the_sdist_holds_all_that_a_build_and_the_tests_need(tmp_path: Path) -> None:
    subprocess.run([*BUILD, "-t", "sdist", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*.py")}
    top = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", ".ci/run"}
    assert tests | top | {"catalog/concepts.toml", "spaces/initzoo/app.py"} <= names
