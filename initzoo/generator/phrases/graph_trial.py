"""The child process of `graphs`: run as a script, it runs a graph with every number of tokens, within limits.

The tokens are once all the first one, and once all the last.

It imports nothing of initzoo. It prints `sound`, or the problem.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from itertools import product


def _limit(n_bytes: int, seconds: float) -> None:
    """Limit memory and time from here on."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows: the parent's limit of time remains
        return
    try:
        with open("/proc/self/statm") as file:
            n_bytes += int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        n_bytes += 2**34  # no such file on this system: room for what the libraries map
    for kind, amount in ((resource.RLIMIT_AS, n_bytes), (resource.RLIMIT_CPU, int(seconds) + 1)):
        hard = resource.getrlimit(kind)[1]
        soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):
            continue  # a system that knows the limit and does not keep to it


def main(max_tokens: str, n_ids: str, n_bytes: str, seconds: str) -> None:
    """Run the graph that comes on standard input."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime

    _limit(int(n_bytes), float(seconds))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        graph = sys.stdin.buffer.read()
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for n_tokens, last in product(range(1, int(max_tokens) + 1), (0, int(n_ids) - 1)):
            ids = np.full((1, n_tokens), last, np.int64)
            states = session.run(["states"], {"ids": ids, "mask": np.ones_like(ids)})[0]
            if states.ndim != 3 or states.shape[:2] != ids.shape or states.dtype != np.float32:
                sys.stdout.write(f"its states are {states.dtype} {states.shape}")
                return
    except Exception as error:  # noqa: BLE001 - the library raises private exceptions
        sys.stdout.write(" ".join(str(error).split())[:300])
        return
    sys.stdout.write("sound")


if __name__ == "__main__":
    main(*sys.argv[1:])
