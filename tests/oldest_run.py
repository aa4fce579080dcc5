"""Runs tests on the oldest versions that pyproject.toml allows; `make oldest` gives it the quick ones.

The versions of the packages below are those of the lower bounds, everything else is the newest that fits
them. They are installed into an environment of its own, build/oldest.
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
PACKAGES = ("numpy", "torch", "huggingface-hub", "gradio", "pyarrow", "datasets", "pillow", "click")
EXTRAS = ("bench", "datasets", "demo")
CHECKS = ("pytest", "pytest-xdist", "hypothesis", "onnx", "tifffile", "uvicorn", "import-linter")


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
    chosen = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    wanted += [one for one in extras["dev"] if re.split("[<>=]", one)[0] in CHECKS]
    wanted += [one for one in extras["onnx"] if one.startswith("onnx>")]
    wanted = [one for one in wanted if not one.startswith("initzoo[")]
    bounds = oldest_versions(wanted)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    constraints = chosen.folder / "constraints.txt"
    constraints.write_text("".join(f"{name}~={bounds[name]}.0\n" for name in PACKAGES))
    python = chosen.folder / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", chosen.folder / "venv"], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--prefer-binary", "-c", constraints, *wanted], check=True)
    listed = subprocess.run(
        [*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True
    ).stdout
    versions = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    names = {name.lower().replace("_", "-"): version for name, version in versions.items()}
    sys.stdout.write("  ".join(f"{name} {names[name]}" for name in PACKAGES) + "\n")
    sys.stdout.flush()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-n", "0", "-q", *chosen.tests]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
