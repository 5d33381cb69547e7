"""A hook of mkdocs: files outside ``docs/`` that are pages of the site too, and links that lead out of it.

Every link is written as it works in the repository, relative to its file. On the site, one to a page leads to that page, one to
any other file to the file in the repository; one to nothing is a warning, which ``mkdocs build --strict`` ends with.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "engine/weights/README.md": "model-card.md", "CHANGELOG.md": "changelog.md"}

_LOG = logging.getLogger("mkdocs.hooks.docs_site")
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside ``docs/``."""
    for path, name in PAGES.items():
        files.append(File.generated(config, name, content=(PROJECT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page from those of the repository into those of the site."""
    source = {name: path for path, name in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def on_the_site(link: re.Match[str]) -> str:
        path = os.path.normpath(os.path.join(os.path.dirname(source), link[2])).replace(os.sep, "/")
        if path in PAGES:
            return link[1] + PAGES[path]
        if path.startswith("docs/"):
            return link[1] + path.removeprefix("docs/")
        if not (PROJECT / path).exists():
            _LOG.warning("%s links to %s, which is not there", source, link[2])
        return f"{link[1]}{config.repo_url}/blob/main/{path}"

    return _LINK.sub(on_the_site, markdown)
