"""The integer network becomes a list of CUDA launches in one arena of device memory."""
