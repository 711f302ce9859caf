"""The names in the tables of losses, architectures and so on, without importing torch.

The tables are the only source. Importing them imports torch, so this reads their keys as text. For
help, completion and documentation; a training checks names against the tables themselves, which may
hold entries of plugins too.
"""

import ast
from pathlib import Path

TABLES = {
    "loss.adversarial": ("training/losses.py", "LOSSES"),
    "model.architecture": ("models/__init__.py", "ARCHITECTURES"),
    "optimizer.name": ("training/optimizers.py", "OPTIMIZERS"),
    "data.dataset": ("data/datasets.py", "DATASETS"),
}
"""By configuration key: the module that holds the table, and the table"""


def names_for(key: str) -> list[str]:
    """The names that a configuration key may have; none if no table belongs to the key."""
    if key not in TABLES:
        return []
    module, table = TABLES[key]
    tree = ast.parse((Path(__file__).parent / module).read_text(encoding="utf-8"))
    (entries,) = (
        argument
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == table
        if isinstance(node.value, ast.Call)
        for argument in node.value.args
        if isinstance(argument, ast.Dict)
    )
    return [str(name.value) for name in entries.keys if isinstance(name, ast.Constant)]
