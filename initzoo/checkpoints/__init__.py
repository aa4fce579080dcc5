"""Checkpoints in memory and on disk: recipe, layout, blocks, base and init."""
