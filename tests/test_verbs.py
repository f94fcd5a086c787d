"""The package has one function per verb, whatever modules of the same name are imported."""

from __future__ import annotations

import subprocess
import sys


def test_verbs_are_functions_before_and_after_modules_of_their_name():
    code = "import lampq_tvm, lampq_tvm.cache, lampq_tvm.plan\nfrom lampq_tvm.plan import BitPlan\n"
    code += "assert all(callable(getattr(lampq_tvm, verb)) for verb in lampq_tvm.VERBS) and BitPlan.load"
    subprocess.run([sys.executable, "-c", code], check=True)
