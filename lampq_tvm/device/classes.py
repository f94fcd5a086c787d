"""The classes that the counter sorts instructions into, in its order (classes.h)."""

from __future__ import annotations

CLASSES = (
    "other",
    "branch",
    "integer",
    "multiply",
    "load",
    "load_vector",
    "load_vectors",
    "store",
    "store_vector",
    "store_vectors",
    "dot",
    "matrix",
    "vector_multiply",
    "multiply_long",
    "shift",
    "vector",
    "permute",
    "zip",
    "table",
    "float",
    "divide",
    "convert",
    "transfer",
)
# Slots of one virtual CPU in the counter's file, and how many it has.
ROW, CPUS = 32, 128
