# SPDX-License-Identifier: Apache-2.0
"""YAML, safely: plain data only, bounded, every key once; the only module that imports yaml.

Scalars follow the YAML 1.2 core schema, not PyYAML's 1.1: ``1e-3`` is a number, ``yes``, ``on``,
``2024-01-01`` and ``12:30`` are text.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from l1ml.errors import ConfigError, DataError

MAX_BYTES = 4 << 20
MAX_DEPTH = 40

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,40})|0x[0-9a-fA-F]{1,32}")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_CORE_SCHEMA = (
    ("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("tag:yaml.org,2002:int", _INT, "-+0123456789"),
    ("tag:yaml.org,2002:float", _FLOAT, "-+0123456789."),
    ("tag:yaml.org,2002:null", re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
)


def _refusal(problem: str, place: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


class _Loader(yaml.SafeLoader):
    """Plain data; no aliases (they can multiply without bound), no tags, no repeated keys, limited depth."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  PyYAML's own name and form

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node; counts how deep it lies."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases (*name) are not allowed; write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"tags are not allowed, found {event.tag!r:.60}", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refusal(f"nested deeper than {MAX_DEPTH} levels", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; a repeated key is an error, not a replacement."""
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refusal("a key must be text or a number", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise _refusal(f"key {key!r} is given twice", key_node)
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """Read a decimal or hexadecimal integer; no octal by a leading zero, no base 60."""
        return int(str(self.construct_scalar(node)), 0)


class _Dumper(yaml.SafeDumper):
    """Plain data, without aliases; quotes what `_Loader` would not read back as the same text."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012  PyYAML's own name and form

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value out."""
        return True


for _class in (_Loader, _Dumper):
    for _tag, _pattern, _first in _CORE_SCHEMA:
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern.pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_core_int)
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds one mapping with text keys.

    Args:
        path: file of at most 4 MiB, UTF-8.

    Returns:
        Plain data: dict, list, str, int, float, bool, None.  An empty file is an empty mapping.

    Raises:
        ConfigError: not readable, too large, not YAML, not a mapping, a repeated key, an alias, or
            a tag that asks for anything but plain data; names the line.
    """
    where = (str(path),)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the file: {error.strerror or error}", where=where) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"the file is larger than {MAX_BYTES >> 20} MiB", where=where, fix="is this the right file?"
        )
    try:
        data = yaml.load(raw.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"not a text file: byte {error.start} is not UTF-8", where=where) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not usable YAML: {_reason(error)}", where=where) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not usable YAML: {error}", where=where) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"a mapping (key: value) is expected, found {type(data).__name__}", where=where)
    wrong = [key for key in data if not isinstance(key, str)]
    if wrong:
        raise ConfigError(
            f"keys must be text, found {wrong[0]!r}", where=where, fix=f'put it in quotes: "{wrong[0]}"'
        )
    return data


def write_yaml(path: str | os.PathLike[str], mapping: Mapping[str, object]) -> None:
    """Write a plain mapping, keys in their order; the file appears whole or not at all.

    Raises:
        ConfigError: a value is not plain data.
        DataError: the file cannot be written.
    """
    try:
        text = yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    except yaml.YAMLError as error:
        raise ConfigError(f"not plain data: {_reason(error)}", where=(str(path),)) from None
    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=".", delete=False
        ) as file:
            part = Path(file.name)
            try:
                file.write(text)
                file.close()
                part.chmod(0o644)
                part.replace(target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DataError(f"cannot write the file: {error.strerror or error}", where=(str(path),)) from error


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else str(problem)
