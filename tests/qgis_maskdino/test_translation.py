"""The plugin's texts can be translated, and a translation of QGIS's language is found."""

from __future__ import annotations

import string
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from qgis_maskdino.translation import install_translator, tr


@pytest.fixture
def update(project, tmp_path):
    """Run the program that collects the texts, for German; return what it says and the file."""

    def run():
        command = [sys.executable, str(project / "packaging" / "update_texts.py"), "de", "--folder", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, tmp_path / "maskdino_de.ts"

    return run


def test_each_text_is_there_for_translators(update):
    _, path = update()
    texts = {message.findtext("source") for message in ET.parse(path).iter("message")}
    assert {"Detect buildings", "Whole layer", "Fine-tune"} <= texts
    for text in texts:
        list(string.Formatter().parse(text))  # a brace that is not closed would fail where the text is shown


def test_what_is_translated_stays_when_the_texts_are_collected_again(update):
    _, path = update()
    tree = ET.parse(path)
    message = next(message for message in tree.iter("message") if message.findtext("source") == "Whole layer")
    message.find("translation").text = "Ganzer Layer"
    del message.find("translation").attrib["type"]
    tree.write(path, encoding="utf-8")
    said, _ = update()
    assert said.rstrip().endswith("1 of them translated")
    again = next(m for m in ET.parse(path).iter("message") if m.findtext("source") == "Whole layer")
    assert again.findtext("translation") == "Ganzer Layer"


def test_without_a_translation_texts_are_as_they_are():
    assert install_translator() is None
    assert tr("Whole layer") == "Whole layer"
