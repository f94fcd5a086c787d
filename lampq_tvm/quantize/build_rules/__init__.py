"""How the float network becomes the integer one: one file an operator, whose rules are found by its class.

The network is built from its output backwards, and every value is asked for in the form that its reader needs. An operator has
a rule for each form in which it can give its value:

    REALS   float32: (builder, operator)
    CODES   codes of a layer's input quantizer: (builder, operator, `Wanted`); None where float32 comes first
    HEADS   codes of q, k and v, or of k and v: (builder, operator, attention, scales [parts, heads])
    SUMS    float32 added to a stream: (builder, operator, residual, name of the stream, factor [C] float64)

Each of these adds operators to the builder and returns the name of the one that gives the value. One more rule tells what all
of that takes in a payload, before it is made:

    PAYLOAD bytes of what is stored beside codes of weights: (model, operator, layers (or `attention`) that stay float16)
"""

from __future__ import annotations

from collections.abc import Callable

from lampq_tvm.errors import UnsupportedError
from lampq_tvm.registry import Registry

Rules = Registry[type, Callable[..., str]]
REALS: Rules = Registry("rule for a float value", __name__, UnsupportedError)
CODES: Registry[type, Callable[..., str | None]] = Registry("rule for codes", __name__, UnsupportedError)
HEADS: Rules = Registry("rule for codes of heads", __name__, UnsupportedError)
SUMS: Rules = Registry("rule for a sum with a stream", __name__, UnsupportedError)
PAYLOAD: Registry[type, Callable[..., int]] = Registry("payload of an operator", __name__, UnsupportedError)
