"""NumPy's files of arrays that may come from elsewhere: sizes are read before contents, and only plain numbers are taken."""

from lampq_tvm.arrays.read import read_npy as read_npy
from lampq_tvm.arrays.read import read_npz as read_npz
