"""DI-MaskDINO: a joint object detection and instance segmentation model (arXiv 2410.16707)."""
