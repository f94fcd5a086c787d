"""Quantizers: how values become codes and codes values; one file a kind."""
