"""The child process of `unpickled`: run as a script, it reads one file within limits and writes safetensors.

It imports nothing of initzoo. The last line of its output is JSON: the names of the tensors, or the problem.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from importlib import import_module
from typing import Any

_MAX_TENSORS = 20_000
_PARTS = ("optimizer", "optim", "optimizer_state_dict", "scheduler", "epoch", "step", "iteration", "scaler")


class _Problem(Exception):
    """What is wrong with the file, in words that follow its name."""


def _limit(n_bytes: int, seconds: float) -> None:
    """Limit memory and time from here on; torch, which needs much of its own, is loaded already."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows: the parent's limit of time remains
        return
    try:
        with open("/proc/self/statm") as file:
            n_bytes += int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        n_bytes += 2**34  # no such file on this system: room for what torch maps
    for kind, amount in ((resource.RLIMIT_AS, n_bytes), (resource.RLIMIT_CPU, int(seconds) + 1)):
        hard = resource.getrlimit(kind)[1]
        soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            continue  # a system that knows the limit and does not keep to it


def _read(path: str) -> dict[str, Any]:
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)|Unsupported (?:global|class|operand) (\S+)", str(error))
        what = next(filter(None, name.groups()), "") if name else str(error).partition("\n")[0][:120]
        if what.isdecimal():  # an opcode, which torch.save does not write
            raise _Problem(
                f"is not a file that torch.save wrote (unknown pickle operation {what})"
            ) from error
        if "Unsupported" in str(error) or name:
            raise _Problem(
                f"holds more than weights ({what}), and reading it could run code. Save the weights alone: "
                "torch.save(model.state_dict(), FILE)"
            ) from error
        raise _Problem(f"is not a file that torch.save wrote, or is damaged ({what})") from error
    except MemoryError as error:
        raise _Problem("needs more memory than a file of its size should") from error
    except Exception as error:
        if "memory" in str(error).lower():
            raise _Problem("needs more memory than a file of its size should") from error
        raise _Problem(
            f"is cut off, damaged, or not a file that torch.save wrote ({type(error).__name__})"
        ) from error
    return _state_dict(value)


def _state_dict(value: Any) -> dict[str, Any]:
    import torch

    if not isinstance(value, dict):
        raise _Problem(f"holds {type(value).__name__} and not a state dict of tensors by name")
    if len(value) == 1 and isinstance(next(iter(value.values())), dict):
        value = next(iter(value.values()))
    if not value:
        raise _Problem("holds a state dict without tensors")
    others = [str(name) for name, tensor in value.items() if not isinstance(tensor, torch.Tensor)]
    if others:
        names = ", ".join(str(name)[:20] for name in list(value)[:3])
        if len(others) == len(value) or any(str(name).lower() in _PARTS for name in value):
            raise _Problem(
                f"is a full training state ({names}) and not the weights of one network. Save those alone: "
                "torch.save(netG.state_dict(), FILE)"
            )
        raise _Problem(f"holds '{others[0][:80]}', which is not a tensor, among its weights")
    if len(value) > _MAX_TENSORS:
        raise _Problem(f"holds {len(value)} tensors, at most {_MAX_TENSORS} are read")
    for name, tensor in value.items():
        if not isinstance(name, str):
            raise _Problem(f"has a tensor with the name {name!r:.80}, which is not a text")
        if tensor.is_meta:
            raise _Problem(f"tensor '{name[:80]}' has a shape and no values")
        if tensor.layout != torch.strided or tensor.is_complex() or tensor.is_quantized:
            raise _Problem(f"tensor '{name[:80]}' is not a dense tensor of plain numbers")
    return value


def main(path: str, target: str, n_bytes: str, seconds: str) -> None:
    """Read the file `path` and write its tensors, by number, to `target`."""
    import torch  # before the limits
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    _limit(int(n_bytes), float(seconds))
    answer: dict[str, Any]
    try:
        value = _read(path)
        tensors = {str(i): tensor.detach().contiguous().clone() for i, tensor in enumerate(value.values())}
        save_file(tensors, target)
        answer = {"names": list(value)}
    except _Problem as error:
        answer = {"problem": str(error)}
    except (MemoryError, RuntimeError) as error:
        answer = {"problem": f"needs more memory than a file of its size should ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
