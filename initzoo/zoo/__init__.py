"""Zoos: where checkpoints live, are found, published and verified."""
