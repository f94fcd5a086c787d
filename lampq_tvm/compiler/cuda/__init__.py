"""CUDA kernels: TIR to CUDA text, text to PTX and cubin, without a GPU, a driver or a toolkit."""
