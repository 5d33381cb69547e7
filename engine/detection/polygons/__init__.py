"""Masks to polygons: the outlines that a layer holds."""
