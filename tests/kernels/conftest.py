from __future__ import annotations

import pytest

from tests.boards import BOARDS, ISAS, board_session, runs_here
from tests.kernels.machine import Machine


@pytest.fixture(scope="package", params=ISAS)
def machine(request):
    """Each instruction set level in turn: this machine's own, or the emulated board's."""
    isa = request.param
    if isa not in BOARDS:
        if not runs_here(isa):
            pytest.skip(f"this CPU has no {isa}")
        yield Machine(isa, None)
        return
    with board_session(isa) as session:
        yield Machine(isa, session)
