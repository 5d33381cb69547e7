"""Mask2Former: masked-attention mask transformer for universal image segmentation (arXiv 2112.01527)."""
