"""Tuned sizes of kernels: what a search found, as files that are shipped or the user's."""
