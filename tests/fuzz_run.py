"""Fuzzes every reader with guidance by coverage, for a time; `make fuzz` prints what came of it.

`make hostile` changes files in the ways that its attacks know. Here libFuzzer, by atheris, keeps every
change that reaches a new branch of initzoo and changes it further. A case is one file of a reader's sound
folder with other bytes; seals and digests are put right again, so that they do not stop it at the door. The
faults are those of hostile_run.py. A case that was one lies in FOLDER and is read again by

    python tests/fuzz_run.py --readers index --again FOLDER/index-3f2a.case
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["lay", "repair"]

ROOT = Path(__file__).parent.parent
_MAX_LENGTH = 2**18
"""Files above this many bytes are not fuzzed: the network's weights, of which single bytes say nothing."""


def lay(folder: Path, case: bytes) -> Path:
    """Put a case into a sound folder: its first byte chooses the file, the others are its content."""
    files = fuzzed_files(folder)
    path = files[case[0] % len(files)]
    before = path.read_bytes()
    path.write_bytes(case[1:])
    repair(folder, path, before)
    return path


def fuzzed_files(folder: Path) -> list[Path]:
    """The files of a folder whose content is fuzzed, in a fixed order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    lookups = [path for path in files if path.suffix == ".lookup"]  # beside the zoo that they are of
    return lookups or [path for path in files if path.stat().st_size <= _MAX_LENGTH]


def repair(folder: Path, path: Path, before: bytes) -> None:
    """Put right again what has a digest of a file: its own seal, configs of the zoo, index and manifest."""
    from hostile_readers import _change_all_rows, describe_again, digest_of, seal_index
    from mutations import seal_again

    if path.name == "index.parquet":
        path.write_bytes(seal_index(path.read_bytes()))
    elif path.suffix == ".safetensors":
        path.write_bytes(seal_again(path.read_bytes()))
    if not (folder / "dataset" / "zoo.json").exists():
        return
    old, new = _digest(before), digest_of(path)
    if "base" in path.relative_to(folder).parts and path.suffix == ".safetensors":
        _change_all_rows(folder, base_sha256=new)
    changes = [(old, new)]
    while changes:  # a config has a digest of the weights, and a calibration one of the config
        old, new = changes.pop()
        for other in (folder / "model").rglob("*.json"):
            content = other.read_bytes()
            if other != path and old.encode() in content:
                other.write_bytes(content.replace(old.encode(), new.encode()))
                changes.append((_digest(content), digest_of(other)))
    if path.name != "zoo.json":
        describe_again(folder)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# The child, in which libFuzzer runs.


def child(name: str, seconds: int, folder: Path, seed: int) -> None:
    """Fuzz a reader; what comes of each case is counted in a file, as libFuzzer ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["initzoo"]):
        from hostile_readers import READERS

        import initzoo.generator
        import initzoo.pairs
        import initzoo.zoo
        import initzoo.zoo.index
        import initzoo.zoo.verify  # noqa: F401
    from hostile_run import _copy, outcome_of

    reader = READERS[name]
    stem = name.replace(" ", "-")
    parent, corpus = folder / f"{stem}-work", folder / f"{stem}-corpus"
    sound, place = parent / "sound", parent / "case"
    shutil.rmtree(parent, ignore_errors=True)
    sound.mkdir(parents=True)
    reader.make(sound)
    corpus.mkdir(exist_ok=True)
    for number, path in enumerate(fuzzed_files(sound)):
        (corpus / f"sound-{number}").write_bytes(bytes([number]) + path.read_bytes())
    counts: Counter[str] = Counter()
    report, running = folder / f"{stem}.json", folder / f"{stem}.running"

    def read_case(case: bytes) -> None:
        if not case:
            return
        _copy(sound, place)
        lay(place, case)
        running.write_bytes(case)
        outcome, text = outcome_of(reader, place)
        counts[outcome] += 1
        if outcome == "bad":
            fault = folder / f"{stem}-{_digest(text.encode())[:8]}.case"
            if not fault.exists():
                fault.write_bytes(case)
                sys.stderr.write(f"{name}: {text}: {fault}\n")
        report.write_text(json.dumps(counts))

    atheris.Setup(
        [
            sys.argv[0], f"-max_total_time={seconds}", f"-max_len={_MAX_LENGTH}", f"-seed={seed}",
            "-rss_limit_mb=4096", "-timeout=60", "-verbosity=0", f"-artifact_prefix={folder}/", str(corpus),
        ],
        read_case,
    )  # fmt: skip
    atheris.Fuzz()


def fuzz(name: str, seconds: int, folder: Path, seed: int) -> Counter[str]:
    """Fuzz a reader in a child process; a child that dies is a fault."""
    stem = name.replace(" ", "-")
    (folder / f"{stem}.json").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", name, str(seconds), str(folder), str(seed)]
    with (folder / f"{stem}.log").open("w") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    report = folder / f"{stem}.json"
    counts: Counter[str] = Counter(json.loads(report.read_text()) if report.exists() else {})
    if status:
        counts["bad"] += 1
        sys.stdout.write(f"{name}: the process ended with status {status}; see {folder / f'{stem}.log'}\n")
    return counts


def again(name: str, path: Path) -> str:
    """Read a kept case again; what came of it."""
    from hostile_readers import READERS
    from hostile_run import outcome_of

    with tempfile.TemporaryDirectory(prefix="initzoo-fuzz-") as folder:
        READERS[name].make(Path(folder))
        changed = lay(Path(folder), path.read_bytes())
        outcome, text = outcome_of(READERS[name], Path(folder))
        return f"{changed.relative_to(folder)}: {outcome} {text}"


def main() -> int:
    """Fuzz readers one after another, and print a table."""
    from hostile_readers import READERS
    from hostile_run import Tally, table

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=600, help="time for each reader")
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz", help="for corpora and faults")
    parser.add_argument("--seed", type=int, default=1, help="seed of libFuzzer")
    parser.add_argument("--again", type=Path, help="read this kept case again instead")
    chosen: Any = parser.parse_args()
    if chosen.again:
        sys.stdout.write(again(chosen.readers[0], chosen.again) + "\n")
        return 0
    chosen.folder.mkdir(parents=True, exist_ok=True)
    tallies = {
        name: Tally(fuzz(name, chosen.seconds, chosen.folder.resolve(), chosen.seed))
        for name in chosen.readers
    }
    sys.stdout.write(table(tallies) + "\n")
    return 1 if any(tally.outcomes["bad"] for tally in tallies.values()) else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
    else:
        sys.exit(main())
