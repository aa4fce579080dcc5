"""Figures and grids of measurements."""
