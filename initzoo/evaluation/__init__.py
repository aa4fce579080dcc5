"""Evaluation of checkpoints and of the weight generator, and the benchmark of starts."""
