"""A GPU as a device: the CUDA driver API through ctypes, and the clocks that it runs at."""
