"""What detection and segmentation have in common: tiles of a raster that are read, and seen by a model."""
