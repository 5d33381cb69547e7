"""Multi-scale deformable attention: one operator, registered once, with kernels behind it."""

from engine.ops.ms_deform_attn import ms_deform_attn

__all__ = ["ms_deform_attn"]
