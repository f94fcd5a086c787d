"""Operators of torch's that TVM's importer does not know, or takes wrongly, in Relax: by name and overload."""

from lampq_tvm.parts.converters import (
    distances,
    elementwise,
    indexing,
    norms,
    order,
    pieces,
    pooling,
    reductions,
    resizing,
    scans,
)

MODULES = (distances, elementwise, indexing, norms, order, pieces, pooling, reductions, resizing, scans)
CONVERTERS = {name: converter for module in MODULES for name, converter in module.CONVERTERS.items()}
