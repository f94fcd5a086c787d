"""Integer NumPy meaning of every operator; shares no code with packing, lowering or kernels."""
