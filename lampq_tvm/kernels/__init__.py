"""TIR kernels: one file per operator, the instruction sets in isa/."""
