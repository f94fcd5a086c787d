"""Runs CUDA artifacts over the driver API: libcuda and NumPy, no TVM, no CUDA runtime, no compiler."""
