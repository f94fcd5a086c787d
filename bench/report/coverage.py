"""`docs/coverage.md`: what of timm imports and compiles, by family."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable

from bench.report.tables import Row, load, percent, table

PRODUCTS = 0.1  # share of convolutions in float up to which a model's multiply-adds lie in matrix products
MOSTLY = 0.9
WIDTH = 120
HEADER = "<!-- Written by `python -m bench.report.pages`; change that, or the figures, and not this page. -->"


def page() -> str:
    """The page."""
    rows = load("coverage")["rows"]
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row["module"], []).append(row)
    lines = [_family(module, own) for module, own in sorted(families.items())]
    head = ["timm's module", "names", "import", "integer", "convolutions", "compile", "correlation", "least"]
    return f"""{HEADER}

# Coverage

`python -m bench.coverage.timm_table`: every architecture of timm's transformer-like modules, with random weights and as
few blocks as its arguments allow; names whose modules are of the same kinds are tried once. `integer`: share of the
multiply-adds in integer operators, median over names; `convolutions`: that of convolutions, which stay float ([float
parts](float_parts.md)); `compile`: names whose 8-bit artifact for the host was made; `correlation`: median between its
outputs and the float model's, less their mean over the photos, on photos that did not calibrate; `-`: not tried yet.

{textwrap.fill(_summary(rows), WIDTH)}

{table(head, lines)}

What is refused:

{_refused(rows)}

## Forms

`python -m bench.coverage.forms_table`: small models of transformers, torchvision and timm, each as a folder of the Hugging
Face hub, as a program of `torch.export` and as an ONNX file of today's default exporter; columns as above, for one model each.

{textwrap.fill(_forms_summary(), WIDTH)}

{table(["model", "form", "integer", "convolutions", "correlation", "refused"], [_form(row) for row in load("forms")["rows"]])}
"""


def _forms_summary() -> str:
    rows = load("forms")["rows"]
    exported = [row for row in rows if "not_exported" not in row]
    told = [row["correlation"] for row in exported if "correlation" in row]
    median = f"; correlation {statistics.median(told):.4f} in the median, {min(told):.4f} at least" if told else ""
    return (
        f"{len(rows)} forms; {len(rows) - len(exported)} that whoever exports them refuses. Of the others "
        f"{sum('imports' in row for row in exported)} import, and {len(told)} compile{median}."
    )


def _form(row: Row) -> list[object]:
    shares = [f"{percent(row[field])} %" if field in row else None for field in ("integer", "convolutions")]
    told = f"{row['correlation']:.4f}" if "correlation" in row else None
    return [row["model"], row["form"], *shares, told, row.get("refused") or ("not exported" if "not_exported" in row else None)]


def _family(module: str, rows: list[Row]) -> list[object]:
    compiled = [row for row in rows if "correlation" in row]
    told = [row["correlation"] for row in compiled for _ in range(row["names"])]
    tried = [row for row in rows if "compile_seconds" in row or row.get("refused")]
    return [
        module,
        _names(rows),
        _names(rows, lambda row: "integer" in row),
        _median(rows, "integer"),
        _median(rows, "convolutions"),
        _names(compiled) if tried else None,
        f"{statistics.median(told):.4f}" if told else None,
        f"{min(told):.4f}" if told else None,
    ]


def _names(rows: list[Row], wanted: Callable[[Row], bool] = lambda row: True) -> int:
    return sum(row["names"] for row in rows if wanted(row))


def _median(rows: list[Row], field: str) -> str | None:
    found = [row[field] for row in rows if field in row for _ in range(row["names"])]
    return f"{percent(statistics.median(found))} %" if found else None


def _summary(rows: list[Row]) -> str:
    """How many names, and how many of those made of matrix products are integer for the most part."""
    imported = [row for row in rows if "integer" in row]
    products = [row for row in imported if row["convolutions"] <= PRODUCTS]
    mostly = _names(products, lambda row: row["integer"] >= MOSTLY)
    return (
        f"{_names(rows):,} names, {len(rows)} structures. {_names(imported):,} names import ({len(imported)} structures). Of "
        f"{_names(products)} names whose multiply-adds lie to 90 % in matrix products, {mostly} have at least 90 % of them in "
        f"integers."
    )


def _refused(rows: list[Row]) -> str:
    lines = [[row["module"], row["name"], row["names"], row["refused"]] for row in rows if row.get("refused")]
    return table(["module", "smallest name", "names", "why"], lines)
