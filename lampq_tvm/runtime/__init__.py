"""Loads an artifact on host or board and runs it; imports neither torch nor the compiler."""
