"""Images stream through the float model; every layer gets its quantizers at every candidate width."""
