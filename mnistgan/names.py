"""The names in the tables of losses, architectures and so on, without importing torch.

The tables are the only source of the names. Importing them would import torch, so this module reads
their keys from the source text. It serves help, completion and documentation. Training checks names
against the tables themselves, which may also hold entries of plugins.
"""

import ast
from pathlib import Path

TABLES = {
    "loss.adversarial": ("training/losses.py", "LOSSES"),
    "model.architecture": ("models/__init__.py", "ARCHITECTURES"),
    "optimizer.name": ("training/optimizers.py", "OPTIMIZERS"),
    "data.dataset": ("data/datasets.py", "DATASETS"),
}
"""For each configuration key: the module that holds the table, and the name of the table"""


def names_for(key: str) -> list[str]:
    """The possible values of a configuration key; an empty list if the key has no table."""
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
