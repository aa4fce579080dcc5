"""Image networks and the low-rank adapters beside their layers."""
