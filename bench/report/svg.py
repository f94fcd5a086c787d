"""Boxes, arrows and text as SVG: enough for the pictures of this project, and readable on light and dark pages."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape

FONT = "font-family='Helvetica, Arial, sans-serif'"
INK, PAPER, LINE = "#1b2733", "#ffffff", "#5b7083"
LETTER = 6.3  # width in pixels of a letter at 12 px, on average


def text(x: float, y: float, words: str, size: int = 12, weight: str = "normal", anchor: str = "middle") -> str:
    """One line of text around or from a point."""
    return (
        f"<text x='{x:g}' y='{y:g}' {FONT} font-size='{size}' font-weight='{weight}' text-anchor='{anchor}' fill='{INK}'>"
        f"{escape(words)}</text>"
    )


def box(x: float, y: float, width: float, height: float, title: str, words: str = "", fill: str = "#eaf2f8") -> str:
    """A box with a title, and below it what it is, wrapped."""
    lines = textwrap.wrap(words, int((width - 16) / LETTER))
    parts = [
        f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='6' fill='{fill}' stroke='{LINE}'/>",
        text(x + width / 2, y + (18 if lines else height / 2 + 4), title, 13, "bold"),
    ]
    parts += [text(x + width / 2, y + 36 + 15 * i, line, 11) for i, line in enumerate(lines)]
    return "\n".join(parts)


def swatch(x: float, y: float, fill: str, words: str) -> str:
    """A colour and what it stands for."""
    return f"<rect x='{x:g}' y='{y:g}' width='14' height='14' rx='3' fill='{fill}' stroke='{LINE}'/>" + text(
        x + 20, y + 12, words, 12, anchor="start"
    )


def arrow(points: Sequence[tuple[float, float]]) -> str:
    """A line through points that ends in a head."""
    drawn = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f"<polyline points='{drawn}' fill='none' stroke='{LINE}' stroke-width='1.6' marker-end='url(#head)'/>"


def picture(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture with a title for those who cannot see it."""
    size = "viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'"
    head = f"<marker id='head' {size}><path d='M0,0 L8,4 L0,8 z' fill='{LINE}'/></marker>"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:g} {height:g}' width='{width:g}' role='img'>",
            f"<title>{escape(title)}</title>",
            f"<defs>{head}</defs>",
            f"<rect width='{width:g}' height='{height:g}' rx='8' fill='{PAPER}'/>",
            *parts,
            "</svg>\n",
        ]
    )
