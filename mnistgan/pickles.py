"""Check what a pickle would do without executing it.

`torch.load` calls only a few functions, but even these can exhaust the memory or run forever. So a
checkpoint may contain only what `torch.save` writes for tensors and plain values.
"""

import pickletools
import re

from mnistgan.errors import CheckpointError

MAX_TUPLE = 100_000
"""Maximum number of values in a tuple, including the values of nested tuples"""
DICTIONARY, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
STORAGE = re.compile(r"torch \w+Storage")
VALUES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"),
}
"""Opcodes that push one value onto the stack"""
POPPED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
"""Number of values that each of these opcodes pops and adds to the value below"""


def check_pickle(program: bytes) -> None:
    """Raise CheckpointError if a pickle contains anything that `torch.save` does not write.

    This simulates the stack of the pickle. In place of each value, the stack holds the number of
    values inside it, where repeated values in a tuple count each time. Python needs that many steps
    to hash or print a tuple, even if a few bytes describe it.

    Raises IndexError, KeyError or ValueError if the pickle is damaged.
    """
    stack: list[int | str] = []  # a string stands for a function
    marks: list[int] = []
    memory: dict[object, int | str] = {}  # by memo index

    def pop_from(start: int) -> list[int | str]:
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(program):
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                marks.append(len(stack))
            case "GLOBAL":
                _check_name(str(argument))
                stack.append(str(argument))
            case "BINPUT" | "LONG_BINPUT":
                memory[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memory[argument])
            case "TUPLE":
                stack.append(_tuple_size(pop_from(marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(_tuple_size(pop_from(len(stack) - int(opcode.name[-1]))))
            case "BINPERSID":  # a reference to a tensor's storage
                stack[-1] = 1
            case "REDUCE":
                function, arguments = pop_from(len(stack) - 2)
                if function == DICTIONARY and arguments != 1:
                    raise CheckpointError("it calls OrderedDict with arguments")
                stack.append(1)
            case "APPENDS" | "SETITEMS":
                pop_from(marks.pop())
            case name if name in POPPED:
                pop_from(len(stack) - POPPED[name])
            case name if name in VALUES:
                stack.append(1)
            case name:
                raise CheckpointError(
                    f"its data.pkl contains the opcode {name}, which mnistgan does not write"
                )


def _check_name(name: str) -> None:
    if name not in (DICTIONARY, TENSOR) and not STORAGE.fullmatch(name):
        raise CheckpointError(f"it imports {name!r}, which mnistgan does not write")


def _tuple_size(items: list[int | str]) -> int:
    size = 1 + sum(item if isinstance(item, int) else 1 for item in items)
    if size > MAX_TUPLE:
        raise CheckpointError("it holds too many values")
    return size
