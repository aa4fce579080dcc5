"""Measuring: checkpoints, the weight generator and the benchmark of starts."""
