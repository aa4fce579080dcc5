"""Writes what an installation of initzoo consists of, as a CycloneDX bill of materials; `make sbom`.

pip resolves initzoo and some of its extras with the pins of constraints.txt, and installs nothing. Names,
versions, licences and digests are those of the files that it would install here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["bill"]

ROOT = Path(__file__).parent.parent


def bill(report: Mapping[str, Any]) -> dict[str, Any]:
    """A bill of materials of CycloneDX 1.6, from an installation report of pip.

    Example:
        >>> one = {"metadata": {"name": "click", "version": "8.5.1", "license_expression": "BSD-3-Clause"}}
        >>> one["download_info"] = {"archive_info": {"hashes": {"sha256": "8bb5"}}}
        >>> bill({"install": [one]})["components"][0]["purl"]
        'pkg:pypi/click@8.5.1'
    """
    components = [_component(one) for one in report["install"]]
    components.sort(key=lambda component: component["name"])
    own = [one for one in components if one["name"] == "initzoo"]
    result: dict[str, Any] = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    if own:
        result["metadata"] = {"component": own[0]}
    return result | {"components": [one for one in components if one["name"] != "initzoo"]}


def _component(one: Mapping[str, Any]) -> dict[str, Any]:
    metadata = one["metadata"]
    name = re.sub(r"[-_.]+", "-", metadata["name"]).lower()
    component: dict[str, Any] = {
        "type": "application" if name == "initzoo" else "library",
        "name": name,
        "version": metadata["version"],
        "purl": f"pkg:pypi/{name}@{metadata['version']}",
    }
    if licence := _licence(metadata):
        component["licenses"] = [licence]
    hashes = one["download_info"].get("archive_info", {}).get("hashes", {})
    if "sha256" in hashes:
        component["hashes"] = [{"alg": "SHA-256", "content": hashes["sha256"]}]
    return component


def _licence(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The licence in the words of the package: an expression of SPDX, a line, or a classifier."""
    if expression := metadata.get("license_expression"):
        return {"expression": expression}
    line = " ".join((metadata.get("license") or "").split())
    if not line or len(line) > 80:  # some packages put the whole text there
        kinds: Sequence[str] = metadata.get("classifier") or ()
        line = next((kind.rpartition(" :: ")[2] for kind in kinds if kind.startswith("License ::")), "")
    return {"license": {"name": line}} if line else {}


def main() -> int:
    """Resolve, write the file and print how much it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", default="demo,onnx,peft,sign", help="extras to resolve as well")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "sbom.json")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--report", "-", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{chosen.extras}]"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    made = bill(json.loads(done.stdout))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(made, indent=1) + "\n")
    components = made["components"]
    n_hashed = sum("hashes" in one for one in components)
    n_licensed = sum("licenses" in one for one in components)
    sys.stdout.write(
        f"{len(components)} packages, {n_hashed} with digests, {n_licensed} with licences  -> {chosen.out}\n"
    )
    return 0 if n_hashed == len(components) else 1


if __name__ == "__main__":
    sys.exit(main())
