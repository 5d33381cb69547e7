"""Keep the instances that have been found so far, so that a killed run can be resumed.

What is stored are the instances of each tile, after the score threshold and before the seams; joining them again is quick and
gives what an unbroken run gives.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.detection.merging.tile_instances import TileInstance, packed, unpacked
from engine.raster.tile_grid import Tile
from engine.tiles.progress_file import ProgressFile

logger = logging.getLogger(__name__)

FORMAT = 3


class Checkpoint(ProgressFile):
    """The progress file of one detection."""

    def __init__(self, path: Path, *, fingerprint: Mapping[str, str], resume: bool) -> None:
        """Open or start a progress file; see `ProgressFile`."""
        super().__init__(path, fingerprint={"format": str(FORMAT), **fingerprint}, resume=resume)

    def add(self, tile: Tile, instances: Sequence[TileInstance]) -> None:
        """Record that a tile is done, for good."""
        self.keep(tile.index, _pack(instances))

    def load(self, tile: Tile) -> list[TileInstance] | None:
        """Return the instances of a tile that is done, None for one that is not."""
        content = self.kept(tile.index)
        if content is None:
            return None
        try:
            return _unpack(tile, content)
        except (zlib.error, struct.error, ValueError, TypeError) as error:
            logger.warning("The progress of tile %d in %s is damaged (%s): it is done again.", tile.index, self.path, error)
            return None


def _pack(instances: Sequence[TileInstance]) -> bytes:
    return zlib.compress(packed(instances), level=1)


def _unpack(tile: Tile, blob: bytes) -> list[TileInstance]:
    found = unpacked(zlib.decompress(blob))
    return [TileInstance(each.col, each.row, each.mask, each.score, each.label, tile) for each in found]
