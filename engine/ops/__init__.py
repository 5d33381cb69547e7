"""Multi-scale deformable attention: one operator, registered once, with kernels behind it."""

from engine.ops.kernels import kernel_name, kernel_report
from engine.ops.ms_deform_attn import ms_deform_attn

__all__ = ["kernel_name", "kernel_report", "ms_deform_attn"]
