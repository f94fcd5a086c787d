"""CUDA kernels: integer products on tensor cores, fused attention, LayerNorm; each a TIR function with its launch."""
