# SPDX-License-Identifier: Apache-2.0
"""The house keeps its order: imports go down only, third parties have one home, files stay short."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# From the top down; rooms of one floor do not know each other.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"__init__"},
    {"arguments"},
    {"project"},
    {"actions", "verification", "reloading"},
    {"sources"},
    {"flow"},
    {"planned"},
    {"streamed"},
    {"hardware", "pins", "workshop"},
    {"calibration"},
    {"report"},
    {"validate", "verify"},
    {"cosim", "synth", "export"},
    {"rtl"},
    {"plan"},
    {"schedule"},
    {"frontends", "lowering", "preprocess"},
    {"graph", "dataflow", "links", "events"},
    {"config"},
    {"checks", "hdf5", "yamlfile"},
    {"assets", "version"},
    {"types"},
    {"errors"},
)
HOMES = {
    "alkaid": {"l1ml/lowering/constmult.py"},
    "cocotb": {"l1ml/cosim", "validation/tb"},
    "cocotb_tools": {"l1ml/cosim"},
    "google": {"l1ml/frontends/onnx"},  # protobuf, for the errors of onnx's own reader
    "h5py": {"l1ml/events/writer.py", "l1ml/hdf5/child.py"},
    "jinja2": {"l1ml/rtl", "l1ml/export"},
    "matplotlib": {"l1ml/report/plots.py"},
    "onnx": {"l1ml/frontends/onnx"},
    "pyosys": {"l1ml/synth"},
    "torch": {"l1ml/graph"},
    "tqdm": {"l1ml/actions.py"},
    "yaml": {"l1ml/yamlfile.py"},
}
ANYWHERE = {"numpy"}
MAX_LINES = 400


def python_files(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for file in sorted([*(root / "l1ml").rglob("*.py"), *(root / "validation").rglob("*.py")]):
        yield file.relative_to(root).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything a module imports, inside functions too.

    What is imported under ``if TYPE_CHECKING`` ties nothing at run time and is left out.
    """
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room(name: str) -> str:
    """Return the room of a dotted module name: ``l1ml.rtl.project`` is in ``rtl``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def allowed(upper: str, lower: str) -> bool:
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    return upper == lower or floor[upper] < floor[lower]


def test_imports_go_down(root: Path) -> None:
    known = set().union(*FLOORS)
    problems = []
    for path, tree in python_files(root):
        if not path.startswith("l1ml/"):
            continue
        here = path.removeprefix("l1ml/").split("/")[0].removesuffix(".py")
        assert here in known, f"{path}: a new room; say in FLOORS where it belongs"
        for line, name in imports(tree):
            if name.split(".")[0] != "l1ml":
                continue
            there = room(name)
            if there not in known:  # from l1ml import convert: a public name
                there = "__init__"
            if not allowed(here, there):
                problems.append(f"{path}:{line}: {here} may not import {name}")
    assert not problems, "\n".join(problems)


def test_third_parties_have_one_home(root: Path) -> None:
    problems = []
    for path, tree in python_files(root):
        for line, name in imports(tree):
            top = name.split(".")[0]
            beside = (root / path).with_name(f"{top}.py").is_file() and not path.startswith("l1ml/")
            if top in sys.stdlib_module_names or top in ANYWHERE or top == "l1ml" or beside:
                continue
            homes = HOMES.get(top, set())
            if not any(path == home or path.startswith(home + "/") for home in homes):
                problems.append(
                    f"{path}:{line}: {top} is at home in {', '.join(sorted(homes)) or 'no module'}"
                )
    assert not problems, "\n".join(problems)


def test_files_are_short(root: Path) -> None:
    long = {
        path: lines
        for path, _ in python_files(root)
        if (lines := len((root / path).read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long, f"more than {MAX_LINES} lines: {long}; one idea per file"


def test_every_module_says_what_it_is_for(root: Path) -> None:
    for path, tree in python_files(root):
        first = (root / path).read_text(encoding="utf-8").splitlines()[0]
        assert first == "# SPDX-License-Identifier: Apache-2.0", path
        assert ast.get_docstring(tree), f"{path} has no docstring"


def test_nothing_dangerous_is_called(root: Path) -> None:
    """Models and configurations are untrusted: nothing may run what they hold."""
    forbidden = {"eval", "exec", "compile", "pickle", "marshal", "shelve", "dill", "joblib"}
    for path, tree in python_files(root):
        names = {top for _, name in imports(tree) for top in [name.split(".")[0]]}
        names |= {
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert not names & forbidden, f"{path} uses {names & forbidden}"
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
                assert isinstance(node.value, ast.Constant) and node.value.value is False, (
                    f"{path}:{node.lineno}: {node.arg}"
                )


def tracked_files(root: Path) -> list[Path]:
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root, capture_output=True, check=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [root / name for name in listing.stdout.split("\0") if name and (root / name).is_file()]


def test_no_path_of_some_machine(root: Path) -> None:
    pattern = re.compile(rb"(?<![\w.<>-])/(?:work|home|root|Users|tmp)/[A-Za-z0-9_]")
    found = [
        f"{file.relative_to(root)}:{number}"
        for file in tracked_files(root)
        if b"\0" not in (data := file.read_bytes())
        for number, line in enumerate(data.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, found


def test_the_guard_itself_can_fail() -> None:
    assert not allowed("types", "config")
    assert not allowed("links", "graph")
    assert not allowed("graph", "frontends")
    assert not allowed("cosim", "synth")
    assert allowed("frontends", "graph")
    assert allowed("validate", "links")
    assert room("l1ml.rtl.project.write") == "rtl"
    assert list(imports(ast.parse("def f():\n    from l1ml.graph import model"))) == [(2, "l1ml.graph.model")]
    assert list(imports(ast.parse("if TYPE_CHECKING:\n    import a\nelse:\n    import b"))) == [(4, "b")]


def test_no_training_framework_is_imported() -> None:
    """Reading, converting and emulating a model must work where no framework is installed."""
    script = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'tensorflow', 'keras', 'tf_keras', 'torch', 'jax', 'qkeras', 'hgq', 'qonnx'}:\n"  # noqa: E501
        "            raise ImportError('refused: ' + name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import pkgutil, importlib, l1ml\n"
        "names = [m.name for m in pkgutil.walk_packages(l1ml.__path__, 'l1ml.')]\n"
        "skip = ('l1ml.__main__', 'l1ml._assets', 'l1ml.hdf5.child', 'l1ml.verify.runners')\n"
        "for name in names:\n"
        "    if not name.startswith(skip):\n"
        "        importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 80
