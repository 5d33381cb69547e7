"""The pages of the dock and of QGIS's options, one per file."""
