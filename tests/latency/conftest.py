from __future__ import annotations

import pytest

from tests.kept import keeping


@pytest.fixture(autouse=True, scope="package")
def kept_code():
    """What these tests compile is kept for the next run."""
    with keeping():
        yield
