"""Write a Space as a folder that is ready to push: `make space`.

The folder has app.py, README.md with its front matter, a wheel of initzoo, and requirements.txt with every
package in the version that initzoo is tested with; torch is the build for CPUs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "spaces" / "initzoo"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_ATTRIBUTES = "*.whl filter=lfs diff=lfs merge=lfs -text\n"


def requirements() -> list[str]:
    """The packages of initzoo and of its page, pinned, without those of the Space itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            pinned[_name(line)] = line.strip()
    wanted = [*project["dependencies"], *_with_extras(project["optional-dependencies"], "demo")]
    return [pinned[_name(requirement)] for requirement in wanted]


def _with_extras(extras: dict[str, list[str]], name: str) -> list[str]:
    packages = []
    for requirement in extras[name]:
        if inner := re.fullmatch(r"initzoo\[([\w,]+)\]", requirement):
            for other in inner[1].split(","):
                packages += _with_extras(extras, other)
        else:
            packages.append(requirement)
    return packages


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~;\[ ]", requirement)[0]).lower()


def make_space(folder: Path) -> Path:
    """Write the folder; replaces an earlier one.

    Returns:
        The wheel in it.
    """
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "app.py").is_file():
            raise SystemExit(f"'{folder}' is not empty and not a Space. Name another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in ("app.py", "README.md"):
        shutil.copyfile(SOURCE / name, folder / name)
    lines = [f"--extra-index-url {CPU_INDEX}", *requirements()]
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n")
    (folder / ".gitattributes").write_text(_ATTRIBUTES)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder.resolve())]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("initzoo-*.whl")
    return wheel


def main() -> None:
    """Write the folder and say how to push it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "space")
    folder = parser.parse_args().folder
    wheel = make_space(folder)
    sys.stdout.write(
        f"{folder}  {wheel.name}  {wheel.stat().st_size / 1e6:.0f} MB\n"
        f"push it: hf upload OWNER/NAME {folder} . --repo-type space\n"
    )


if __name__ == "__main__":
    main()
