"""What a pickle would do, read without running any of it.

`torch.load` calls a few functions only, which still can fill the memory or take forever. So a
checkpoint may contain what `torch.save` writes for tensors and plain values, and nothing else.
"""

import pickletools
import re

from mnistgan.errors import CheckpointError

MAX_TUPLE = 100_000
"""Values in a tuple, those in tuples within it included"""
DICTIONARY, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
STORAGE = re.compile(r"torch \w+Storage")
VALUES = {
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"),
}
"""Opcodes that push one value"""
POPPED = {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
"""How many values they take from the stack, for what is below these"""


def check_pickle(program: bytes) -> None:
    """Raises CheckpointError for what `torch.save` does not write.

    This follows the stack of the pickle, with a number in place of each value: how many values it
    contains, counting those in a tuple each time that they occur in it. Python hashes and prints a
    tuple in so many steps, however few bytes describe it.
    Raises IndexError, KeyError and ValueError for a pickle that is damaged.
    """
    stack: list[int | str] = []  # a text for a function
    marks: list[int] = []
    memory: dict[object, int | str] = {}  # by the number of its place

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
            case "BINPERSID":  # a storage, by its name
                stack[-1] = 1
            case "REDUCE":
                function, arguments = pop_from(len(stack) - 2)
                if function == DICTIONARY and arguments != 1:
                    raise CheckpointError("it copies a dictionary")
                stack.append(1)
            case "APPENDS" | "SETITEMS":
                pop_from(marks.pop())
            case name if name in POPPED:
                pop_from(len(stack) - POPPED[name])
            case name if name in VALUES:
                stack.append(1)
            case name:
                raise CheckpointError(f"its list of tensors contains {name}")


def _check_name(name: str) -> None:
    if name not in (DICTIONARY, TENSOR) and not STORAGE.fullmatch(name):
        raise CheckpointError(f"it calls for {name!r}")


def _tuple_size(items: list[int | str]) -> int:
    size = 1 + sum(item if isinstance(item, int) else 1 for item in items)
    if size > MAX_TUPLE:
        raise CheckpointError("it holds too many values")
    return size
