"""Writes what stands in pages and comes from elsewhere: figures from results, pictures and tables from the code.

    python -m bench.report.pages            writes what is out of date
    python -m bench.report.pages --check    writes nothing; exit code 1 where something is out of date

These are `docs/results.md`, `docs/coverage.md`, the README's blocks, the pictures in `docs/pictures/`, the table of rooms in
`docs/architecture.md` and that of operators in `docs/arithmetic.md`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.report import blocks, coverage, limits, pictures, readme, recipes, results
from bench.report.operators import operators
from bench.report.tables import ROOT
from tests.test_floors import FLOORS


def pages() -> dict[Path, str]:
    """What each page should hold."""
    docs = ROOT / "docs"
    return {
        docs / "results.md": results.page(),
        docs / "coverage.md": coverage.page(),
        docs / "pictures" / "road.svg": pictures.road(),
        docs / "pictures" / "floors.svg": pictures.floors(FLOORS),
        docs / "pictures" / "roofline.svg": limits.roofline(),
        **{docs / "pictures" / name: picture for name, picture in recipes.pictures().items()},
        **blocks.filled_in(ROOT / "README.md", {"demo": readme.demo, "headline": readme.headline}),
        **blocks.filled_in(docs / "arithmetic.md", {"operators": operators}),
        **blocks.filled_in(docs / "architecture.md", {"rooms": lambda: pictures.rooms(FLOORS)}),
    }


def stale() -> dict[Path, str]:
    """The pages that are out of date, with what they should hold."""
    return {path: text for path, text in pages().items() if not path.is_file() or path.read_text("utf-8") != text}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    found = stale()
    for path, text in found.items():
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    sys.exit(1 if check and found else 0)


if __name__ == "__main__":
    main()
