"""Pages beside the README are pages of the site too, with links that hold on either side; options stay whole on a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
BESIDE = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; their links to `docs/` and to each other become the site's."""
    for name, page in BESIDE.items():
        text = (ROOT / name).read_text("utf-8").replace("](docs/", "](")
        for other, its_page in BESIDE.items():
            text = text.replace(f"]({other}", f"]({its_page}")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from `docs/` to the files beside the README become links to their pages."""
    up = "../" * page.file.src_uri.count("/")
    pattern = r"\]\((?:\.\./)+(" + "|".join(map(re.escape, BESIDE)) + ")"
    return re.sub(pattern, lambda found: f"]({up}{BESIDE[found[1]]}", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """No line breaks within an option (`--jobs`); `site.css` says what is `whole`."""

    def whole(found: re.Match[str]) -> str:
        return "<code>" + re.sub(r"(?<![\w-])--?[a-z][\w-]*", r'<span class="whole">\g<0></span>', found[1]) + "</code>"

    return re.sub(r"<code>([^<]*)</code>", whole, html)
