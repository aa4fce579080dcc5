"""Runs tests on the oldest or newest versions that pyproject.toml allows; `make oldest` and `make newest`.

With `--versions oldest`, the packages that initzoo itself needs and the largest ones of its extras have the
versions of their lower bounds, everything else the newest that fits them. With `newest`, all are the newest;
with `pinned`, those of constraints.txt. They are installed into an environment of its own, which is made with
the Python that runs this.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

__all__ = ["oldest_versions"]

ROOT = Path(__file__).parent.parent
OF_EXTRAS = ("datasets", "gradio")
EXTRAS = ("bench", "datasets", "demo", "heif", "onnx", "sign")
CHECKS = ("pytest", "pytest-xdist", "hypothesis", "tifffile", "uvicorn", "import-linter")


def oldest_versions(requirements: list[str]) -> dict[str, str]:
    """The lower bound of each requirement by name.

    Example:
        >>> oldest_versions(["numpy>=2.0", "mcp>=1.21,<2", "initzoo[demo]"])
        {'numpy': '2.0', 'mcp': '1.21'}
    """
    matches = (re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)", one) for one in requirements)
    return {match[1]: match[2] for match in matches if match}


def main() -> int:
    """Make the environment, print the versions and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="+", help="files or folders of tests")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "oldest")
    parser.add_argument("--versions", choices=("oldest", "pinned", "newest"), default="oldest")
    chosen = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    wanted += [one for one in extras["dev"] if re.split("[<>=]", one)[0] in CHECKS]
    wanted = [one for one in wanted if not one.startswith("initzoo[")]
    bounds = oldest_versions(wanted)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    constraints = chosen.folder / "constraints.txt"
    shown = [*oldest_versions(project["dependencies"]), *OF_EXTRAS]
    lines = {
        "oldest": [f"{name}~={bounds[name]}.0" for name in shown],
        "pinned": (ROOT / "constraints.txt").read_text("utf-8").splitlines(),
        "newest": [],
    }[chosen.versions]
    constraints.write_text("\n".join([*lines, ""]))
    python = chosen.folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", chosen.folder / "venv"], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    options = ["-q", "--prefer-binary", *(["--upgrade"] if chosen.versions == "newest" else [])]
    subprocess.run([*pip, "install", *options, "-c", constraints, *wanted], check=True)
    listed = subprocess.run(
        [*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True
    ).stdout
    versions = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    names = {name.lower().replace("_", "-"): version for name, version in versions.items()}
    version = ".".join(map(str, sys.version_info[:3]))
    sys.stdout.write("  ".join([f"Python {version}", *(f"{name} {names[name]}" for name in shown)]) + "\n")
    sys.stdout.flush()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-n", "0", "-q", *chosen.tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
