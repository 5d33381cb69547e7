"""Tell what an audit found: in lines for a terminal, as JSON, and as one HTML page with pictures."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from training.data.audit.annotations import FAULTS
from training.data.audit.audit import Audit
from training.data.audit.duplicates import Pair
from training.data.audit.pictures import outlined_picture, whole_picture
from training.data.audit.split import IMAGE_FAULTS, Split

PICTURED = 40  # pairs of each kind
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

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #d0d7de }
table { border-collapse: collapse; margin: .6rem 0 } td, th { padding: .25rem .8rem; text-align: left; vertical-align: top }
tr:nth-child(even) { background: #f6f8fa } td.n { text-align: right; font-variant-numeric: tabular-nums }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 24rem }
figure img { width: 49% } figure img + img { margin-left: 2% }
figcaption { font-size: .8rem; color: #57606a; overflow-wrap: anywhere } .bad { color: #b42318 } .good { color: #1a7f37 }
td img { height: 7rem; margin: .3rem .3rem 0 0 }
details { font-size: .85rem; color: #57606a }
"""


def summary_lines(audit: Audit) -> list[str]:
    """Return what a person at a terminal wants to know."""
    lines = []
    for number, split in enumerate(audit.splits):
        classes = ", ".join(f"{name} {count}" for name, count in split.classes.most_common())
        lines.append(f"{split.name}: {len(split.ids)} images, {split.annotations} annotations ({classes or 'none is sound'})")
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
            what = "image" if kind in IMAGE_FAULTS else "annotation"
            lines.append(f"  {kind}: {fault.count}; the {what} {_meaning(kind)}, e.g. {fault.examples[0]}")
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
                "images": len(split.ids),
                "annotations": split.annotations,
                "crowds": split.crowds,
                "merged": split.merged,
                "images_with_ignored_ground": split.ignored,
                "classes": dict(split.classes),
                "images_without_annotations": int((split.annotation_counts == 0).sum()),
                "blank_images": split.blank,
                "redundant_images": audit.redundant(number),
                "dropped_by_write": int(split.drop.sum()),
                "faults": {
                    kind: {"count": fault.count, "meaning": _meaning(kind), "examples": fault.examples}
                    for kind, fault in split.faults.items()
                },
            }
        )
    report: dict[str, Any] = {"splits": splits, "pairs": [_pair(audit, pair) for pair in audit.pairs]}
    if len(audit.splits) > 1:
        val = audit.splits[1]
        report["leakage"] = {
            "validation_images": len(audit.leaked),
            "share": len(audit.leaked) / max(len(val.ids), 1),
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
    parts = [f"<h1>Audit of {html.escape(' and '.join(str(split.folder) for split in audit.splits))}</h1>"]
    border = audit.start(1)
    if len(audit.splits) > 1:
        tone = "bad" if len(audit.leaked) or audit.shared_ground else "good"
        parts.append(f'<p class="{tone}"><b>{html.escape(_leakage(audit))}</b></p>')
        if audit.shared_ground:
            shared = len({second for _, second, _ in audit.shared_ground})
            parts.append(f'<p class="bad">{shared} validation images share ground with training images, by their bounds.</p>')
    for number, split in enumerate(audit.splits):
        parts += [f"<h2>{split.name}</h2>", _figures(audit, number, split), _faults(split)]
    if len(audit.splits) > 1:
        parts.append(_pictures(audit, "Validation images that stand in training", audit.pairs_between()))
    for number, split in enumerate(audit.splits):
        within = [pair for pair in audit.pairs if (pair.first >= border) == (pair.second >= border) == bool(number)]
        parts.append(_pictures(audit, f"Images that {split.name} holds more than once", within))
    head = f'<meta charset="utf-8"><title>Data set audit</title><style>{_STYLE}</style>'
    return f"<!doctype html>\n<html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _leakage(audit: Audit) -> str:
    leaked, images = len(audit.leaked), len(audit.splits[1].ids)
    if not leaked:
        return f"leakage: none of the {images} validation images stands in training"
    return (
        f"leakage: {leaked} of {images} validation images ({leaked / images:.1%}) stand in training: scores on them say little"
    )


def _figures(audit: Audit, number: int, split: Split) -> str:
    rows = {
        "images": len(split.ids),
        "annotations": split.annotations,
        **{f"of class {name}": count for name, count in split.classes.most_common()},
        "crowds": split.crowds,
        "several objects drawn as one": split.merged,
        "images with ground that is not labelled": split.ignored,
        "images without annotations": int((split.annotation_counts == 0).sum()),
        "blank images": split.blank,
        "images that repeat another": audit.redundant(number),
        "images that a clean copy leaves out": int(split.drop.sum()),
    }
    cells = "".join(f'<tr><td>{html.escape(name)}</td><td class="n">{value:,}</td></tr>' for name, value in rows.items())
    return f"<table>{cells}</table>"


def _faults(split: Split) -> str:
    if not split.faults:
        return '<p class="good">Nothing is wrong with its images and annotations.</p>'
    rows = []
    for kind, fault in sorted(split.faults.items(), key=lambda item: -item[1].count):
        examples = "<br>".join(html.escape(example) for example in fault.examples)
        drawn = "".join(outlined_picture(split.path(index), annotation) for index, annotation in fault.annotations)
        rows.append(
            f'<tr><td>{kind}</td><td class="n">{fault.count:,}</td><td>{html.escape(_meaning(kind))}'
            f"<details><summary>examples</summary>{examples}</details>{drawn}</td></tr>"
        )
    return f"<table><tr><th>fault</th><th>count</th><th>the image or annotation ...</th></tr>{''.join(rows)}</table>"


def _pictures(audit: Audit, title: str, pairs: list[Pair]) -> str:
    if not pairs:
        return ""
    chosen = [pairs[index] for index in np.unique(np.linspace(0, len(pairs) - 1, min(PICTURED, len(pairs))).astype(int))]
    figures = []
    for pair in chosen:
        names = " · ".join(html.escape(_name(audit, number)) for number in (pair.first, pair.second))
        pictures = whole_picture(_path(audit, pair.first), pair.orientation) + whole_picture(_path(audit, pair.second))
        figures.append(
            f"<figure>{pictures}<figcaption>{names}<br>the first {_WAYS[pair.orientation]}; likeness {pair.likeness:.2f}"
            "</figcaption></figure>"
        )
    shown = "" if len(chosen) == len(pairs) else f" (of {len(pairs):,} pairs, {len(chosen)})"
    return f'<h2>{html.escape(title)}{shown}</h2><div class="pairs">{"".join(figures)}</div>'


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


def _meaning(kind: str) -> str:
    return IMAGE_FAULTS.get(kind) or FAULTS[kind]
