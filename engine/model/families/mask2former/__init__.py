"""Mask2Former: masked-attention mask transformer for universal image segmentation (arXiv 2112.01527)."""

import engine.model.config  # noqa: F401 - first, for it makes the union of all families' configs
