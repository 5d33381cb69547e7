"""Collect the plugin's texts for translators: ``qgis_maskdino/i18n/maskdino_<language>.ts``, one file per language.

    python packaging/update_texts.py de fr    # begin or bring up to date what Qt Linguist opens; what is translated stays
    lrelease qgis_maskdino/i18n/*.ts          # Qt's program: makes the .qm files that the plugin loads and `make plugin` packs

Qt's own collector knows no function ``tr`` with one context for all modules, so here is one that does.
"""

from __future__ import annotations

import argparse
import ast
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PLUGIN = PROJECT / "qgis_maskdino"
CONTEXT = "MaskDino"  # see qgis_maskdino/translation.py


def texts() -> dict[str, list[tuple[str, int]]]:
    """Return each text of the plugin with the places, file and line, where it stands."""
    found: dict[str, list[tuple[str, int]]] = {}
    for path in sorted(PLUGIN.rglob("*.py")):
        for call in translated(path.read_text(encoding="utf-8")):
            text = literal(call)
            if text is None:
                raise SystemExit(
                    f"{path}:{call.lineno}: tr() takes one literal text; what is made at run time has no translation."
                )
            found.setdefault(text, []).append((path.relative_to(PROJECT).as_posix(), call.lineno))
    return found


def translated(source: str) -> Iterator[ast.Call]:
    """Yield each call of ``tr`` in a module, in the order of the lines."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    yield from sorted((call for call in calls if getattr(call.func, "id", "") == "tr"), key=lambda call: call.lineno)


def literal(call: ast.Call) -> str | None:
    """Return the text that a call translates; None where it is made at run time."""
    if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Constant):
        value = call.args[0].value
        return value if isinstance(value, str) else None
    return None


def write(path: Path, language: str, found: dict[str, list[tuple[str, int]]]) -> tuple[int, int]:
    """Write a language's file and keep what is translated in it. Return the number of texts, and of those translated."""
    known: dict[str, str] = {}
    if path.exists():
        for message in ET.parse(path).iter("message"):
            translation = message.find("translation")
            if translation is not None and translation.text and translation.get("type") != "unfinished":
                known[message.findtext("source", "")] = translation.text
    root = ET.Element("TS", version="2.1", language=language, sourcelanguage="en")
    context = ET.SubElement(root, "context")
    ET.SubElement(context, "name").text = CONTEXT
    for text, places in found.items():
        message = ET.SubElement(context, "message")
        for file, line in places:
            ET.SubElement(message, "location", filename=f"../../{file}", line=str(line))
        ET.SubElement(message, "source").text = text
        translation = ET.SubElement(message, "translation")
        if text in known:
            translation.text = known[text]
        else:
            translation.set("type", "unfinished")
    ET.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n' + ET.tostring(root, encoding="unicode") + "\n",
        encoding="utf-8",
    )
    return len(found), sum(text in known for text in found)


def main() -> None:
    """Begin, or bring up to date, the files of the languages that are named."""
    parser = argparse.ArgumentParser(description="Collect the plugin's texts for translators.")
    parser.add_argument("languages", nargs="+", help="such as de or pt_BR")
    parser.add_argument("--folder", type=Path, default=PLUGIN / "i18n")
    given = parser.parse_args()
    found = texts()
    for language in given.languages:
        path = given.folder / f"maskdino_{language}.ts"
        count, done = write(path, language, found)
        print(f"{path}: {count} texts, {done} of them translated")


if __name__ == "__main__":
    main()
