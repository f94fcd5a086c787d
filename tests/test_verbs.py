"""The package has one function per verb, and no module that would take its name once it is imported."""

from __future__ import annotations

from pathlib import Path

import lampq_tvm


def test_verbs_are_functions():
    assert all(callable(getattr(lampq_tvm, verb)) for verb in lampq_tvm.VERBS)


def test_no_module_has_a_verbs_name():
    package = Path(lampq_tvm.__file__).parent
    assert not {path.stem for path in package.iterdir()} & set(lampq_tvm.VERBS)
