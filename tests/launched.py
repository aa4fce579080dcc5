"""A command as `accelerate launch` starts it in tests: with frequent snapshots, and killed on demand.

`AS_ACCELERATOR=1` trains as on an accelerator. `KILLED_AT=1:6` ends process 1 before step 6 of a later stage.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

import initzoo.work
from initzoo.cli.main import main
from initzoo.training import lanes
from initzoo.training.generator import loop, resident
from initzoo.training.generator.objectives import BehaviourObjective
from initzoo.training.harvest import joint

__all__ = ["prepare"]


def prepare() -> None:
    """Change what the environment asks for."""
    loop.SNAPSHOT_EVERY = joint._JointTraining.snapshot_every = 4
    lanes.REPORT_SECONDS = resident.SNAPSHOT_SECONDS = 0.0
    resident._STEPS_AHEAD = 1
    if os.environ.get("AS_ACCELERATOR"):  # any device but the plain one takes that way
        initzoo.work.choose_device = lambda name: torch.device("cpu", 0)
    rank, step = os.environ.get("KILLED_AT", "-1:0").split(":")
    if os.environ.get("RANK") == rank:
        for owner, name in (
            (BehaviourObjective, "draw"),
            (resident._Training, "plan_step"),
            (joint._JointShare, "compute"),
        ):
            _kill_at(owner, name, int(step))


def _kill_at(owner: Any, name: str, step: int) -> None:
    whole = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        if step in arguments[1:]:
            os._exit(9)
        return whole(*arguments)

    setattr(owner, name, call)


if __name__ == "__main__":
    prepare()
    main(sys.argv[1:])
