"""A kit for the owner of a board, beside TensorRT."""
