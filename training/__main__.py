"""``python -m training CONFIG.yaml [KEY=VALUE ...]``: the same as ``maskdino train``."""

from __future__ import annotations

import sys

from engine.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
