"""Figures and image grids for reports."""
