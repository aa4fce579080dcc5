"""Filters: the operators that local teachers are made of."""
