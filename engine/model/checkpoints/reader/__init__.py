"""Read published checkpoints, files of strangers, without running anything from them: ``.pth``, ``.pkl`` and safetensors.

What a file could do, and what stands against it:

- *Run code.* A pickle is a program for a small stack machine, and some of its instructions call whatever they name. The
  machine here (`stack_machine`) knows the few names with which NumPy and PyTorch describe an array or a tensor; they stand for
  plain records (`arrays`, `tensors`), never for functions of these libraries. Any other name, and any other instruction that
  calls, is an `UnsafeFileError`. Neither ``pickle`` nor ``torch.load`` is used: what the latter accepts as safe grows with each
  release and with what other libraries of the process register, and its restricted reader has corrupted memory before
  (CVE-2026-24747).
- *Take memory.* Nothing is allocated for a size that a file merely states. An array has to bring its bytes, a tensor has to
  lie within the bytes of its storage and a storage within the file; instructions and copies are counted; what is compressed
  is refused.
- *Confuse.* What a file is decides its contents, not its name. Two entries of one name, a storage of two sizes or types, and
  a tensor whose meaning depends on marks beside its numbers are refused.
"""

from engine.model.checkpoints.reader.published_file import PublishedCheckpoint, read_published

__all__ = ["PublishedCheckpoint", "read_published"]
