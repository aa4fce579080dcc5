"""Pairs: photos, and what the teachers of concepts make of them."""
