"""The integer network becomes a Relax module that calls this project's TIR kernels."""
