# SPDX-License-Identifier: Apache-2.0
"""What an error says: what, where, fix; and that every error of ours can be told from a bug."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from l1ml import errors
from l1ml.errors import L1mlError, ModelError, nearest

CHILDREN = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, L1mlError)]


def test_what_where_fix() -> None:
    error = ModelError("2 layers are not supported", where=("tau.h5", "lstm_1"), fix="replace them")
    assert str(error) == "2 layers are not supported\n  in  tau.h5 > lstm_1\n  fix replace them"
    assert str(L1mlError("only this")) == "only this"


@pytest.mark.parametrize("kind", CHILDREN, ids=lambda kind: kind.__name__)
def test_every_kind_is_caught_as_ours_and_explains_itself(kind: type[L1mlError]) -> None:
    assert kind.__doc__
    with pytest.raises(L1mlError, match=r"^x$"):
        raise kind("x")


def test_nearest() -> None:
    assert nearest("clock_mz", ["tmux", "clock_mhz"]) == "did you mean clock_mhz? allowed are clock_mhz, tmux"
    assert nearest("zzz", ["tmux"]) == "allowed are tmux"


def _texts(tree: ast.AST) -> list[ast.Constant]:
    """Return the plain strings of a module, without docstrings and without the parts of f-strings."""
    skip = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    skip |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip
    ]


def test_no_message_lacks_its_f(root: Path) -> None:
    """A name in braces inside a plain string of a raise statement is a forgotten ``f``."""
    lost = []
    for file in sorted((root / "l1ml").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                lost += [
                    f"{file.relative_to(root)}:{text.lineno}: {text.value}"
                    for text in _texts(node)
                    if re.search(
                        r"\{[a-z_][\w.]*(\[[^]]*\])?(\([^)]*\))?(![rs])?(:[^ {}]*)?\}", str(text.value)
                    )
                ]
    assert not lost, lost
