"""Zoos on the tests' own Hub, and what a test needs to talk to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import READ_TOKEN, TOKEN, Hub, running_hub
from zoo_fixtures import make_zoo

from initzoo.zoo.hub import client
from initzoo.zoo.publish import push_zoo
from initzoo.zoo.zoo import Zoo

__all__ = [
    "READ_TOKEN",
    "TOKEN",
    "hub",
    "opened",
    "own_hub",
    "program",
    "pushed",
    "quick_retries",
    "run_program",
]


@pytest.fixture(scope="session")
def hub_with_zoos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the zoo `me/tiny`, tagged v1, that tests only read."""
    with running_hub() as hub:
        folder = make_zoo(tmp_path_factory.mktemp("pushed") / "tiny")
        push_zoo(folder, "me/tiny", token=TOKEN, endpoint=hub.url, tag="v1")
        yield hub


@pytest.fixture
def hub(hub_with_zoos: Hub) -> Iterator[Hub]:
    """The shared Hub, without requests and faults of other tests."""
    hub_with_zoos.forget()
    yield hub_with_zoos
    hub_with_zoos.forget()


@pytest.fixture
def own_hub() -> Iterator[Hub]:
    """A Hub of the test's own, empty."""
    with running_hub() as hub:
        yield hub


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hardly at all between tries."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)


def opened(hub: Hub, cache: Path, name: str = "me/tiny", **settings: object) -> Zoo:
    """A zoo of the Hub, cached in a folder."""
    return Zoo.from_pretrained(name, **{"endpoint": hub.url, "cache_dir": cache, **settings})  # type: ignore[arg-type]


def pushed(hub: Hub, folder: Path, repo: str = "me/zoo", **options: object) -> object:
    """Publish a zoo with a token that may write."""
    return push_zoo(folder, repo, **{"token": TOKEN, "endpoint": hub.url, **options})  # type: ignore[arg-type]


def program(hub: Hub, cache: Path, **variables: str) -> dict[str, str]:
    """The environment of a program that talks to the Hub, with a cache of its own."""
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache.parent / "home")}
    return {**os.environ, **own, **variables}


def run_program(environment: dict[str, str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, e.g. `-m initzoo pull ...`."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )
