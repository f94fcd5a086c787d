from __future__ import annotations

from tests import kept

kept_code = kept.kept_code  # a fixture
