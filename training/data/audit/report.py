"""Tell what an audit found: in lines for a terminal, as JSON, and as one HTML page with pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.data.audit.audit import Audit
from training.data.audit.duplicates import Pair
from training.data.audit.pictures import outlined_picture, whole_picture
from training.data.audit.split import Split
from training.data.coco.faults import FAULTS, Found
from training.reports.rendering import render

PICTURED = 40  # pairs of each kind
DRAWN = 6  # annotations of each fault
# How ``perceptual_hash.orient`` turns, by number.
_WAYS = (
    "as it is",
    "mirrored",
    "upside down",
    "turned by half",
    "transposed",
    "turned right",
    "turned left",
    "transposed and turned by half",
)


def summary_lines(audit: Audit) -> list[str]:
    """Return what a person at a terminal wants to know."""
    lines = []
    for number, split in enumerate(audit.splits):
        classes = ", ".join(f"{name} {count}" for name, count in split.classes.most_common())
        count = len(split.reader.annotations)
        lines.append(f"{split.name}: {len(split.names)} images, {count} annotations ({classes or 'none is sound'})")
        empty = int((split.annotation_counts == 0).sum())
        lines.append(
            f"  {empty} images without annotations, {split.blank} blank, {audit.redundant(number)} that repeat another"
        )
        if split.crowds or split.merged or split.ignored:
            lines.append(
                f"  {split.crowds} crowds, {split.merged} annotations that are several objects drawn as one, "
                f"{split.ignored} images with ground that is not labelled: there is nothing to find or to miss there"
            )
        for kind, fault in sorted(split.faults.items(), key=lambda item: -item[1].count):
            meaning = f"the {FAULTS[kind].of} {FAULTS[kind].sentence('audit')}"
            lines.append(f"  {kind}: {fault.count}; {meaning}, e.g. {fault.examples[0]}")
    if len(audit.splits) > 1:
        lines.append(_leakage(audit))
        if audit.shared_ground:
            shared = len({second for _, second, _ in audit.shared_ground})
            lines.append(f"ground: {shared} of the validation images share ground with training, by their bounds")
    return lines


def as_json(audit: Audit) -> dict[str, Any]:
    """Return everything as plain values; the pairs by file names."""
    splits = []
    for number, split in enumerate(audit.splits):
        splits.append(
            {
                "name": split.name,
                "folder": str(split.folder),
                "images": len(split.names),
                "annotations": len(split.reader.annotations),
                "crowds": split.crowds,
                "merged": split.merged,
                "images_with_ignored_ground": split.ignored,
                "classes": dict(split.classes),
                "images_without_annotations": int((split.annotation_counts == 0).sum()),
                "blank_images": split.blank,
                "redundant_images": audit.redundant(number),
                "dropped_by_write": int(split.drop.sum()),
                "faults": {
                    kind: {"count": fault.count, "meaning": FAULTS[kind].sentence("audit"), "examples": fault.examples}
                    for kind, fault in split.faults.items()
                },
            }
        )
    report: dict[str, Any] = {"splits": splits, "pairs": [_pair(audit, pair) for pair in audit.pairs]}
    if len(audit.splits) > 1:
        val = audit.splits[1]
        report["leakage"] = {
            "validation_images": len(audit.leaked),
            "share": len(audit.leaked) / max(len(val.names), 1),
            "files": [_name(audit, int(number)) for number in audit.leaked],
        }
        report["shared_ground"] = [
            {"train": _name(audit, first), "val": _name(audit, second), "share": round(share, 4)}
            for first, second, share in audit.shared_ground
        ]
    report["seconds"] = round(audit.seconds, 2)
    return report


def as_html(audit: Audit) -> str:
    """Return one page that needs no other file."""
    border, several = audit.start(1), len(audit.splits) > 1
    return render(
        "audit.html",
        folders=[split.folder for split in audit.splits],
        leakage=_leakage(audit) if several else "",
        leaks=len(audit.leaked) or audit.shared_ground,
        shared_ground=len({second for _, second, _ in audit.shared_ground}),
        leaked=_pictures(audit, audit.pairs_between() if several else []),
        splits=[
            {
                "name": split.name,
                "figures": _figures(audit, number, split),
                "faults": _faults(split),
                "repeated": _pictures(
                    audit, [pair for pair in audit.pairs if (pair.first >= border) == (pair.second >= border) == bool(number)]
                ),
            }
            for number, split in enumerate(audit.splits)
        ],
    )


def _leakage(audit: Audit) -> str:
    leaked, images = len(audit.leaked), len(audit.splits[1].names)
    if not leaked:
        return f"leakage: none of the {images} validation images stands in training"
    return (
        f"leakage: {leaked} of {images} validation images ({leaked / images:.1%}) stand in training: scores on them say little"
    )


def _figures(audit: Audit, number: int, split: Split) -> dict[str, int]:
    return {
        "images": len(split.names),
        "annotations": len(split.reader.annotations),
        **{f"of class {name}": count for name, count in split.classes.most_common()},
        "crowds": split.crowds,
        "several objects drawn as one": split.merged,
        "images with ground that is not labelled": split.ignored,
        "images without annotations": int((split.annotation_counts == 0).sum()),
        "blank images": split.blank,
        "images that repeat another": audit.redundant(number),
        "images that a clean copy leaves out": int(split.drop.sum()),
    }


def _faults(split: Split) -> list[dict[str, Any]]:
    """Return the faults of a split, the most frequent first, with pictures of some."""
    return [
        {
            "kind": kind,
            "count": fault.count,
            "meaning": FAULTS[kind].sentence("audit"),
            "examples": fault.examples,
            "pictures": _drawn(split, fault),
        }
        for kind, fault in sorted(split.faults.items(), key=lambda item: -item[1].count)
    ]


def _drawn(split: Split, fault: Found) -> str:
    annotations = split.reader.annotations
    rows = [row for row in fault.rows if annotations.owners[row] >= 0 and split.usable[annotations.owners[row]]]
    return "".join(
        outlined_picture(split.path(annotations.owners[row]), annotations.outlines.rings(row), annotations.boxes[row])
        for row in rows[:DRAWN]
    )


def _pictures(audit: Audit, pairs: list[Pair]) -> dict[str, Any]:
    """Return the number of pairs, and pictures of some of them."""
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(PICTURED, len(pairs))).astype(int))
    return {"total": len(pairs), "pairs": [_pictured(audit, pairs[index]) for index in chosen]}


def _pictured(audit: Audit, pair: Pair) -> dict[str, Any]:
    return {
        "pictures": whole_picture(_path(audit, pair.first), pair.orientation) + whole_picture(_path(audit, pair.second)),
        "first": _name(audit, pair.first),
        "second": _name(audit, pair.second),
        "orientation": _WAYS[pair.orientation],
        "likeness": f"{pair.likeness:.2f}",
    }


def _pair(audit: Audit, pair: Pair) -> dict[str, Any]:
    return {
        "first": _name(audit, pair.first),
        "second": _name(audit, pair.second),
        "orientation": _WAYS[pair.orientation],
        "bits": pair.bits,
        "likeness": pair.likeness,
    }


def _path(audit: Audit, number: int) -> Path:
    split, index = audit.place(number)
    return audit.splits[split].path(index)


def _name(audit: Audit, number: int) -> str:
    split, index = audit.place(number)
    content = audit.splits[split]
    return str(Path(content.name, content.names[index]))
