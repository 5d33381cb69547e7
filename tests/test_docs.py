"""The documentation leads where it says: `make docs` checks more, but needs packages that a test run has not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

OUTSIDE = {"README.md": "index.md", "engine/weights/README.md": "model-card.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s]*)\)")


@pytest.fixture(scope="module")
def pages(project: Path) -> list[Path]:
    return [*sorted((project / "docs").glob("*.md")), *(project / path for path in OUTSIDE)]


def anchors(page: Path) -> set[str]:
    """The names that headings get, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_each_link_leads_to_a_file_and_a_heading(project: Path, pages: list[Path]) -> None:
    broken = []
    for page in pages:
        for link in LINK.findall(page.read_text("utf-8")):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(project)}: {link}")
    assert broken == []


def test_each_page_can_be_reached_from_the_menu_of_the_site(project: Path, pages: list[Path]) -> None:
    menu = set(re.findall(r"[\w-]+\.md", str(yaml.safe_load((project / "mkdocs.yml").read_text("utf-8"))["nav"])))
    assert menu == {OUTSIDE.get(page.relative_to(project).as_posix(), page.name) for page in pages}
