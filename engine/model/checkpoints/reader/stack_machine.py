"""The stack machine that a pickle is a program for, cut down to plain data.

Dictionaries, lists, numbers, text and arrays are all that a published checkpoint needs. The instructions that call something
reach the few names with which NumPy describes an array, and these stand for the plain records of `arrays`, not for NumPy's own
functions: a hostile state never reaches NumPy. A reader never asks for bytes that the file does not have, and both instructions
and copies are counted.
"""

from __future__ import annotations

import pickletools  # nosec B403 - it takes pickles apart and runs nothing
from typing import Any, BinaryIO, ClassVar

from engine.errors import ModelFileError, UnsafeFileError
from engine.model.checkpoints.reader.arrays import (
    ARRAY_GLOBALS,
    PickledArray,
    PickledDtype,
    PickledSettings,
    bytes_of_nothing,
    encode,
)
from engine.model.file_errors import short

# A Swin-L checkpoint takes about 40,000 instructions; a file with more than this is not a checkpoint.
MAX_INSTRUCTIONS = 5_000_000


class BoundedReader:
    """A file that refuses to be asked for more than it holds, before any memory is taken for it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise ValueError(f"it ends {count - self._left} bytes too early")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line

    def tell(self) -> int:
        return self._file.tell()


class _Mark:
    """Where a run of items begins on the stack."""


_MARK = _Mark()


class ArrayUnpickler:
    """The stack machine: containers, numbers, text and arrays as ``PickledArray``.

    Args:
        file: where a pickle begins; it may have several, one after the other.
        size: bytes from there to the end of the file.
    """

    extra_globals: ClassVar[dict[str, Any]] = {}

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._reader = BoundedReader(file, size)
        self._budget = 2 * size  # bytes that may be copied; an honest file copies each of its own once
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._globals = {
            **ARRAY_GLOBALS,
            "collections.OrderedDict": plain_dict,
            "_codecs.encode": encode,
            "builtins.bytes": bytes_of_nothing,
            "__builtin__.bytes": bytes_of_nothing,
            **self.extra_globals,
        }
        self._callables = {value for value in self._globals.values() if callable(value)}

    def load(self) -> Any:
        """Read one pickle from where the file stands.

        Raises:
            UnsafeFileError: it asks for anything else than plain data. Nothing of it has been run.
            ModelFileError: it is no pickle, or a broken one.
        """
        try:
            return self._run()
        except ModelFileError:
            raise
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, EOFError) as error:
            raise ModelFileError(f"it is not a pickle, or a broken one ({short(error)}).") from error

    def _run(self) -> Any:
        self._stack.clear()
        self._memo.clear()
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._reader)):
            if count > MAX_INSTRUCTIONS:
                raise ModelFileError(f"it takes more than {MAX_INSTRUCTIONS:,} instructions to read.")
            name = opcode.name
            if name == "STOP":
                break
            step = getattr(self, f"_op_{name.lower()}", None)
            if step is not None:
                step(argument) if opcode.arg is not None else step()
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in _VALUES:
                self._stack.append(argument)
            elif name not in ("PROTO", "FRAME"):
                raise UnsafeFileError(f"it contains the pickle instruction {name}, which no array needs.")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        start = len(self._stack) - 1
        while self._stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("a run of items has no beginning")
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items

    def _spend(self, values: object) -> None:
        # What is handed over may be copied, and the memo lets a file hand over the same long text or list again and again.
        if isinstance(values, tuple):
            self._budget -= sum(len(value) for value in values if isinstance(value, (str, list, tuple)))
        if self._budget < 0:
            raise ModelFileError("it unfolds to far more than its own size.")

    # Containers -----------------------------------------------------------------------------------------------------

    def _op_mark(self) -> None:
        self._stack.append(_MARK)

    def _op_pop(self) -> None:
        self._stack.pop()

    def _op_pop_mark(self) -> None:
        self._pop_to_mark()

    def _op_empty_list(self) -> None:
        self._stack.append([])

    def _op_empty_dict(self) -> None:
        self._stack.append({})

    def _op_list(self) -> None:
        self._stack.append(self._pop_to_mark())

    def _op_tuple(self) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _op_tuple1(self) -> None:
        self._stack[-1:] = [(self._stack[-1],)]

    def _op_tuple2(self) -> None:
        self._stack[-2:] = [tuple(self._stack[-2:])]

    def _op_tuple3(self) -> None:
        self._stack[-3:] = [tuple(self._stack[-3:])]

    def _op_dict(self) -> None:
        self._stack.append(_dict_of(self._pop_to_mark()))

    def _op_append(self) -> None:
        item = self._stack.pop()
        _expect(self._stack[-1], list).append(item)

    def _op_appends(self) -> None:
        items = self._pop_to_mark()
        _expect(self._stack[-1], list).extend(items)

    def _op_setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _expect(self._stack[-1], dict).update(_dict_of([key, value]))

    def _op_setitems(self) -> None:
        items = self._pop_to_mark()
        _expect(self._stack[-1], dict).update(_dict_of(items))

    # Memory ---------------------------------------------------------------------------------------------------------

    def _op_memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _op_get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _op_binput = _op_long_binput = _op_put
    _op_binget = _op_long_binget = _op_get

    # What could call: only the names of ARRAY_GLOBALS and their like, only with those records ---------------------------

    def _op_global(self, names: str) -> None:
        self._push_global(names.replace(" ", "."))

    def _op_stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_global(f"{_expect(module, str)}.{_expect(name, str)}")

    def _push_global(self, name: str) -> None:
        if name not in self._globals:
            raise UnsafeFileError(f"it asks for {short(name)}, which is not a plain array.")
        self._stack.append(self._globals[name])

    def _op_reduce(self) -> None:
        arguments, function = _expect(self._stack.pop(), tuple), self._stack.pop()
        if not callable(function) or function not in self._callables:
            raise UnsafeFileError(f"it asks to call {short(function)}.")
        self._spend(arguments)
        self._stack.append(function(*arguments))

    def _op_newobj(self) -> None:
        arguments, record = self._stack.pop(), self._stack.pop()
        if record is not PickledSettings or arguments != ():
            raise UnsafeFileError(f"it asks to make a new object of {short(record)}.")
        self._stack.append(PickledSettings())

    def _op_build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is dict and type(state) is dict and set(state) <= {"_metadata"}:
            return  # what PyTorch notes beside a state dict
        if type(target) not in (PickledArray, PickledDtype, PickledSettings):
            raise UnsafeFileError(f"it asks to change the inside of a {type(target).__name__}.")
        self._spend(state)
        target.__setstate__(state)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}


def plain_dict(items: object = ()) -> dict:
    pairs = _expect(items, (list, tuple))
    return _dict_of([part for pair in pairs for part in _expect(pair, (list, tuple))])


def _dict_of(items: list[Any]) -> dict:
    # Only flat keys: hashing a deeply nested tuple exhausts the stack of the interpreter itself.
    keys = items[::2]
    if len(items) % 2 or not all(type(key) in (str, int) for key in keys):
        raise ValueError("a dictionary has other keys than text and numbers")
    return dict(zip(keys, items[1::2], strict=True))


def _expect(value: Any, types: type | tuple[type, ...]) -> Any:
    if not isinstance(value, types):
        raise TypeError(f"{type(value).__name__} found in an unexpected place")
    return value
