"""What mkdocs.yml adds to the pages: the README as the first one, links to the repository's other files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((\.\./)?([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the README as index.md."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - only MkDocs itself has it

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=LINK.sub(_from_the_top, text)))
    return files


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Let links that leave docs/ lead to the repository."""

    def replaced(found: re.Match[str]) -> str:
        up, path, anchor = found[1], found[2], found[3] or ""
        if not up:
            return found[0]
        if not (ROOT / path).exists():
            return found[0]  # which --strict then refuses
        return f"]({config['repo_url']}/blob/main/{path}{anchor})"

    return LINK.sub(replaced, markdown)


def _from_the_top(found: re.Match[str]) -> str:
    path, anchor = found[2], found[3] or ""
    inside = path.removeprefix("docs/")
    return f"]({inside if inside != path else '../' + path}{anchor})"
