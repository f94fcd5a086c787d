"""A TVM function small enough to compile in every test: y = 2 x + 1."""

import tvm
from tvm.script import tirx as T


@T.prim_func(s_tir=True)
def double_plus_one(x: T.handle, y: T.handle):
    X = T.match_buffer(x, (64,), "float32")
    Y = T.match_buffer(y, (64,), "float32")
    for i in range(64):
        with T.sblock("y"):
            v = T.axis.spatial(64, i)
            Y[v] = X[v] * T.float32(2) + T.float32(1)


def trivial_module() -> tvm.IRModule:
    return tvm.IRModule({"main": double_plus_one})
