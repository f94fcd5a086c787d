"""Tuning of CUDA products: candidates are built where there is no GPU and timed later, all in one go."""
