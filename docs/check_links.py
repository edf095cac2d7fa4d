"""Check that every internal link of the built manual leads somewhere, anchors included.

    python docs/check_links.py docs/_build/html

Links to other hosts are not fetched. The exit status is 1 if a link is broken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOURCES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Page(HTMLParser):
    """What a page offers as targets of links, and where its own links lead."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[int, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[name] or "" for name in ("id", "name") if name in given}
        link = given.get(SOURCES.get(tag, ""))
        if link:
            self.links.append((self.getpos()[0], link))


def target(page: Path, link: str, root: Path) -> tuple[Path, str] | None:
    """Return the file and the anchor that a link means, or None for another host."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    base = root if path.startswith("/") else page.parent
    file = (base / path.lstrip("/")).resolve() if path else page
    return (file / "index.html" if file.is_dir() else file), unquote(parts.fragment)


def pages_of(root: Path) -> list[Path]:
    """List the pages; the theme's own templates in `_static` are none."""
    return [path for path in sorted(root.rglob("*.html")) if path.parent.name != "_static"]


def broken(root: Path) -> Iterator[str]:
    """Yield a line for each link that leads nowhere."""
    pages = {path: Page(path) for path in pages_of(root)}
    for path, page in pages.items():
        for line, link in page.links:
            found = target(path, link, root)
            if found is None:
                continue
            file, anchor = found
            where = f"{path.relative_to(root)}:{line}: {link}"
            if not file.exists():
                yield f"{where}: no such file"
            elif anchor and file in pages and anchor not in pages[file].anchors:
                yield f"{where}: no such anchor"


def main(folder: str) -> int:
    """Print what is broken; return the exit status."""
    root = Path(folder).resolve()
    count = len(pages_of(root))
    if not count:
        print(f"no pages in {root}: build them first", file=sys.stderr)
        return 1
    lines = list(broken(root))
    print(*lines, f"{count} pages, {len(lines)} broken links", sep="\n")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
