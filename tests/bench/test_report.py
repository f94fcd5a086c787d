"""Pages that are written from figures and from the code are what they would be if they were written now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.report import accuracy, blocks, pages, pictures, speed
from bench.report.tables import RESULTS, ROOT, load, one

WRITTEN = pages.pages()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_a_page_is_what_the_script_writes(path: Path) -> None:
    assert path.read_text("utf-8") == WRITTEN[path], f"{path.name} is out of date: make pages"


def test_no_result_is_without_a_reader() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "bench" / "report").glob("*.py"))
    read = {f"{name}.json" for name in re.findall(r'load\("([a-z0-9_]+)"\)', sources)} | set(
        re.findall(r"[a-z0-9_]+\.jsonl", sources)
    )
    assert read == {path.name for path in RESULTS.iterdir()}


def test_a_changed_figure_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = load("shared_runner")
    changed = {"shared_runner": runner | {"growth_kb": runner["growth_kb"] + 1}}
    monkeypatch.setattr("bench.report.trust.load", lambda name: changed.get(name) or load(name))
    assert [path.name for path in pages.stale()] == ["results.md"]


def test_sentences_beside_the_figures_hold() -> None:
    plans = load("fashion_mnist")["rows"]
    for bits, softmax in accuracy.ATTENTIONS:
        default, uniform = (one(plans, name=name, attention=bits, softmax=softmax)["top1"] for name in ("lampq4", "uniform4"))
        assert abs(default - uniform) < accuracy.NOISE
    recipes = [row for row in load("recipes")["rows"] if row["recipe"] == "default" and row["images"] == 2000]
    for model in {row["model"] for row in recipes}:
        chosen, same = (one(recipes, model=model, seed=0, widths=widths) for widths in ("3bit", "3/3"))
        assert chosen["top1"] > same["top1"] and chosen["kl"] < same["kl"]
    rows, counts = load("arm_peers")["rows"], load("kernel_counts")["rows"]
    assert {row["runner"] for row in rows if "value" not in row} == {"ncnn fp32, half precision"}
    for model, short in zip(speed.MODELS, ("deit_tiny", "deit_small", "swin_tiny", "vit_base"), strict=True):
        best = {board: min(speed.best(rows, model, board, runner) for runner in speed.PEERS) for board in speed.BOARDS}
        alone = one(counts, model=short, isa="dotprod")["sdot_floor"]
        assert (round(alone / best["raspberry-pi-5"], 2) >= speed.AIM) is (short in ("deit_small", "vit_base"))
        assert speed.best(rows, model, "raspberry-pi-4", "lampq 4/4") < speed.AIM * best["raspberry-pi-4"]
        for board in ("raspberry-pi-5", "jetson-agx-thor"):  # every width runs the same instructions there
            eight, four = (speed.best(rows, model, board, runner) for runner in ("lampq 8/8", "lampq 4/4"))
            assert abs(four / eight - 1) < 0.001


def test_the_road_gives_what_the_code_knows() -> None:
    sources = "".join(path.read_text("utf-8") for path in pictures.PACKAGE.rglob("*.py"))
    assert not [name for _, name in pictures.ROAD if name[0].isupper() and f"class {name}" not in sources]


def test_a_block_that_is_missing_is_named() -> None:
    with pytest.raises(LookupError, match="0 blocks `demo`"):
        blocks.filled("nothing", {"demo": str})
    with pytest.raises(LookupError, match="2 rows"):
        one([{"a": 1}, {"a": 1}], a=1)
