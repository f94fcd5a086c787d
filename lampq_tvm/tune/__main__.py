"""`python -m lampq_tvm.tune`: the measuring process (worker.py)."""

from lampq_tvm.lean import leave_torch_out

if __name__ == "__main__":
    leave_torch_out()
    from lampq_tvm.tune.worker import main

    main()
