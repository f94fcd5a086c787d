"""CUDA kernels, compiled by NVRTC and run by the PTX interpreter, against the integer oracle."""
