"""Quantizers: how values become codes and codes values; one file a kind, found by name. NumPy only."""
