"""TVM functions small enough to compile in every test: y = 2 x + 1, and one that hangs."""

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


@T.prim_func(s_tir=True)
def hang(x: T.handle):
    X = T.match_buffer(x, (1,), "int32")
    for i in range(1):
        with T.sblock("x"):
            v = T.axis.spatial(1, i)
            X[v] = T.call_extern("int32", "sleep", 3600)


def hanging_module() -> tvm.IRModule:
    return tvm.IRModule({"main": hang})
