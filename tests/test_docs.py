"""What pages say of other files holds: links, anchors, modules, paths, options and versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lampq_tvm
from lampq_tvm.resources import PACKAGE

ROOT = PACKAGE.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "schedules" / "README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = "lampq_tvm|tests|bench|docs|schedules|targets|requirements"
# `lampq_tvm/` is left out by pages that speak of nothing else.
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+|(?:{'|'.join(p.name for p in PACKAGE.iterdir() if p.is_dir())})/[\w./-]+\.py)`")


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as the hosting platform and the site make them."""
    plain = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.*)$", plain, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for name in (name for name in NAMED.findall(text) if "NAME" not in name):
        places = (ROOT / name, PACKAGE / name)
        assert any(place.exists() for place in places), f"{page.name}: {name}"
    for module in re.findall(r"bench(?:\.[a-z_]+){1,2}\b", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir(), f"{page.name}: {module}"


def test_targets_of_make_that_are_named_exist() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:^ {4}|`)make ([a-z]+)\b", page.read_text("utf-8"), flags=re.MULTILINE)
    }
    assert {"demo", "test", "pages", "site"} <= named <= made


def test_the_readme_is_short_and_says_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert [line.split()[:2] for line in lines if line.startswith("    make ")] == [["make", "demo"], ["make", "test"]]


def test_there_is_one_version() -> None:
    found = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert found is not None and found[1] == lampq_tvm.__version__
    cited = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {found[1]}\n" in cited and f"\ndate-released: {found[2]}\n" in cited
    assert "\nversion =" not in (ROOT / "pyproject.toml").read_text("utf-8")
