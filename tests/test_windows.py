"""Windows, as far as it can be tried elsewhere: without what it lacks, with its names and consoles."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest
from cli_running import fail, succeed
from click.testing import CliRunner
from zoo_fixtures import kept_zoo

import initzoo.files.atomic as atomic
from initzoo.checkpoints import name_words
from initzoo.cli.main import main
from initzoo.errors import OutputError
from initzoo.files.atomic import check_free, check_free_folder, is_reserved_name, replace_folder, write_bytes
from initzoo.zoo.index.rows import problem_of
from initzoo.zoo.zoo import Zoo

__all__ = ["kept_zoo"]

ROOT = Path(__file__).parent.parent

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
NAMES = (
    *(
        "O_CLOEXEC",
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "O_SYNC",
        "chown",
        "chroot",
        "confstr",
        "copy_file_range",
    ),
    *(
        "ctermid",
        "fchmod",
        "fchown",
        "fork",
        "forkpty",
        "getegid",
        "geteuid",
        "getgid",
        "getgroups",
        "getloadavg",
    ),
    *(
        "getpgid",
        "getpgrp",
        "getpriority",
        "getresuid",
        "getsid",
        "getuid",
        "killpg",
        "lchown",
        "lockf",
        "major",
    ),
    *(
        "memfd_create",
        "mkfifo",
        "mknod",
        "nice",
        "openpty",
        "posix_fadvise",
        "posix_fallocate",
        "posix_spawn",
    ),
    *(
        "pread",
        "preadv",
        "pwrite",
        "pwritev",
        "readv",
        "sched_getaffinity",
        "sched_setaffinity",
        "sched_yield",
    ),
    *(
        "sendfile",
        "setgid",
        "setpgid",
        "setpriority",
        "setsid",
        "setuid",
        "statvfs",
        "fstatvfs",
        "sync",
        "sysconf",
    ),
    *(
        "tcgetpgrp",
        "uname",
        "wait3",
        "wait4",
        "waitid",
        "WIFEXITED",
        "WEXITSTATUS",
        "WIFSIGNALED",
        "WTERMSIG",
    ),
    *(
        "SIGKILL",
        "SIGHUP",
        "SIGALRM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGQUIT",
        "SIGPIPE",
        "SIGCHLD",
        "SIGXFSZ",
        "alarm",
    ),
    *("pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
)
"""What `os` and `signal` have on Linux and not on Windows."""


def uses_of(source: str) -> list[str]:
    """What a module uses that Windows lacks."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in NAMES
            and ast.unparse(node.value) in ("os", "signal")
        ):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module in (*MODULES, "os", "signal"):
            found += [alias.name for alias in node.names if node.module in MODULES or alias.name in NAMES]
    return found


def test_no_module_uses_what_windows_lacks() -> None:
    assert uses_of("import fcntl, os\nos.pread(1, 2, 3)\nfrom os import fork") == [
        "fcntl",
        "fork",
        "os.pread",
    ]
    for folder in ("initzoo", "spaces", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            assert uses_of(path.read_text("utf-8")) == [], path


def test_text_files_are_read_and_written_as_utf_8() -> None:
    """The encoding of a Windows machine is another one, e.g. cp1252."""
    for path in (ROOT / "initzoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            given = {keyword.arg for keyword in node.keywords}
            if name in ("read_text", "write_text"):
                assert "encoding" in given or len(node.args) > (name == "write_text"), f"{path}:{node.lineno}"


HIDE = f"""
import os, shutil, signal, sys

for name in {MODULES!r}:
    if name != "posix":
        sys.modules[name] = None
import click, cv2, filelock, huggingface_hub, numpy, PIL.Image, pyarrow.parquet, safetensors
import tokenizers, torch, tqdm
for name in {NAMES!r}:
    for module in (os, signal):
        if hasattr(module, name):
            delattr(module, name)

def refuse(*_, **__):
    raise OSError("[WinError 1314] A required privilege is not held by the client")

os.symlink = refuse
# On Windows, shutil asks the system in another way.
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(2**40, 2**39, 2**39)
"""

USE = """
import importlib, pkgutil
import initzoo

sys.modules["gradio"] = None  # takes six seconds; the page is tried elsewhere
n_modules = 0
for module in pkgutil.walk_packages(initzoo.__path__, "initzoo."):
    if module.name not in ("initzoo.__main__", "initzoo.demo.endpoints"):
        importlib.import_module(module.name)
        n_modules += 1

from initzoo.cli.main import main

def run(*words):
    try:
        main(list(words))
    except SystemExit as end:
        assert not end.code, words

run("pull", "pencil sketch", "-o", "sketch.safetensors")
run("pull", "faded teal charcoal", "-o", "drawn.safetensors", "--seed", "3")
run("apply", "sketch.safetensors", sys.argv[1], "-o", "edited.png")
run("list", "--split", "heldout-new")
run("show", "pencil sketch")
run("show", "sketch.safetensors")
run("search", "watercolour", "--json")
run("verify", "sketch.safetensors")
run("finetune", "pencil sketch", "--teacher", "negative", "--photos", sys.argv[2], "--varied", "3",
    "--steps", "1", "--gan", "off", "--validations", "1", "-o", "mine.safetensors")
print(n_modules, "modules")
"""


@pytest.mark.long
def test_commands_run_without_what_windows_lacks(photo_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "hidden.py"
    script.write_text(HIDE + USE, "utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp850:strict", "PYTHONWARNINGS": "ignore"}
    result = subprocess.run(
        [sys.executable, script, photo_folder / "cat.png", photo_folder],
        capture_output=True,
        cwd=tmp_path,
        env=environment,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr.decode("cp850")[-3000:]
    assert b"Traceback" not in result.stderr
    assert int(result.stdout.decode("cp850").splitlines()[-1].split()[0]) > 150
    written = {path.name for path in tmp_path.iterdir()}
    assert {"edited.png", "mine.safetensors", "mine.png", "mine.curve.csv"} <= written


@pytest.mark.parametrize("encoding", ["cp850", "cp1252", "cp437", "utf-16-le"])
@pytest.mark.parametrize(
    "words", [["list", "--json"], ["show", "pencil sketch"], ["operators", "colour", "--json"]]
)
def test_consoles_of_windows_show_every_result(encoding: str, words: list[str]) -> None:
    result = CliRunner(charset=encoding).invoke(main, words)
    assert result.exit_code == 0, result.output
    text = result.stdout_bytes.decode(encoding)
    assert words[-1] != "--json" or json.loads(text)


def test_a_whole_process_writes_to_a_console_of_windows() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "cp437:strict"}
    command = [sys.executable, "-m", "initzoo", "show", "pencil sketch"]
    result = subprocess.run(command, capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "pencil-sketch" in result.stdout.decode("cp437")


# Names.


@pytest.mark.parametrize(
    "name", ["CON", "con.png", "Nul.safetensors", "aux .txt", "COM1", "lpt9.tar.gz", "com¹.png", "CONIN$"]
)
def test_names_that_windows_keeps_for_devices_are_known(name: str) -> None:
    assert is_reserved_name(name)
    if name.isascii() and "$" not in name and " " not in name:
        assert PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize("name", ["console", "com10.png", "nul-look", "my.con", "lpt", ".con"])
def test_other_names_are_free(name: str) -> None:
    assert not is_reserved_name(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CON.png", "Windows keeps that name for a device"),
        ("a:b.png", "its name has ':' in it"),  # would write into a hidden stream of the file a
        ("what?.png", r"its name has '\?' in it"),
        ("a*.png", r"its name has '\*' in it"),
        ("tab\there.png", r"its name has '\\t' in it"),
        ("dot.", "ends with a blank or a dot"),
        ("blank ", "ends with a blank or a dot"),
    ],
)
def test_on_windows_names_that_go_elsewhere_are_refused(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / name, b"1", force=False)  # they are sound names elsewhere
    (tmp_path / name).unlink()
    monkeypatch.setattr(atomic, "_IS_WINDOWS", True)
    with pytest.raises(OutputError, match=said):
        write_bytes(tmp_path / name, b"1", force=False)
    with pytest.raises(OutputError, match=said):
        check_free(tmp_path, name, force=True)
    with pytest.raises(OutputError, match=said):
        check_free_folder(tmp_path / name, force=True)
    with pytest.raises(OutputError, match=said), replace_folder(tmp_path / name, force=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_pull_of_a_word_that_is_a_device_gets_another_name() -> None:
    assert [name_words(words) for words in ("Con", "NUL", "com1!", "con art")] == [
        "con-look", "nul-look", "com1-look", "con-art",
    ]  # fmt: skip


def test_a_command_says_so_before_the_work(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_IS_WINDOWS", True)
    monkeypatch.chdir(tmp_path)
    line = fail("apply", "pencil sketch", photo_folder / "cat.png", "-o", "a:b.png")
    assert line == "cannot write a:b.png: its name has ':' in it. Choose another name"
    succeed("apply", "pencil sketch", photo_folder / "cat.png", "-o", "ab.png")


@pytest.mark.parametrize(
    "shard", ["..\\x.safetensors", "C:x.safetensors", "blocks\\a.safetensors", "\\\\host\\a.safetensors"]
)
def test_paths_of_windows_in_an_index_are_refused(shard: str, kept_zoo: Path) -> None:
    row = Zoo.from_pretrained(kept_zoo).find("pencil sketch")
    assert problem_of(row) is None
    assert "shard has the invalid value" in str(problem_of(replace(row, shard=shard)))
