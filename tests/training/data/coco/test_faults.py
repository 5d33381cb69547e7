"""The table of faults: what the documentation says of it."""

from __future__ import annotations

from pathlib import Path

from training.data.coco.faults import FAULTS

DOCS = Path(__file__).parents[4] / "docs" / "datasets.md"


def test_the_documentation_lists_each_fault_and_what_is_done_about_it() -> None:
    rows = [
        f"| `{name}` | the {fault.of} {fault.what} | {fault.training} | {fault.audit} | {fault.evaluation} |"
        for name, fault in FAULTS.items()
    ]
    assert "\n".join(rows) in DOCS.read_text(encoding="utf-8")
