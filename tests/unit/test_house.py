# SPDX-License-Identifier: Apache-2.0
"""What a newcomer meets first works as written: make targets, README, documents, CI."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from l1ml import cli

DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/glossary.md",
    "docs/verify.md",
    "datasets/README.md",
)


def make_targets(root: Path) -> set[str]:
    return set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))


def test_make_has_the_promised_targets(root: Path) -> None:
    assert {"setup", "demo", "test", "lint", "types", "bench", "clean"} <= make_targets(root)


def test_ci_runs_tests_lint_and_types(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert {"make test", "make lint", "make types", "make frameworks"} <= set(
        script.read_text(encoding="utf-8").splitlines()
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(root: Path, name: str) -> None:
    text = (root / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text):
        assert ((root / name).parent / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_what_exists(root: Path, name: str) -> None:
    """Every `make` target, every `l1ml` subcommand and every path in backticks is real."""
    text = (root / name).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.M)) <= make_targets(root)
    assert set(re.findall(r"(?:`|^)l1ml ([a-z]+)", text, re.M)) <= set(cli._COMMANDS)
    pattern = r"`((?:l1ml|firmware|interfaces|validation|datasets|tests|docs)/[\w./*<>-]*)`"
    for path in re.findall(pattern, text):
        if "<" not in path:
            assert list(root.glob(path.rstrip("/"))), f"{name} names {path}"
    for path in re.findall(r"`([a-z_]+/[\w/]+\.py|[a-z_]+\.py)`", text):  # rooms of l1ml for short
        assert (root / path).exists() or (root / "l1ml" / path).exists(), f"{name} names {path}"


def test_options_in_the_readme_are_real(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    known = {
        name: {option for action in parser._actions for option in action.option_strings}
        for name, parser in cli._parser()._subparsers._group_actions[0].choices.items()  # type: ignore[union-attr]
    }
    for command, rest in re.findall(r"^l1ml ([a-z]+)([^#\n]*)", text, re.M):
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in known[command], f"l1ml {command} {option}"


def test_the_changelog_has_the_usual_headings(root: Path) -> None:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_the_licence_is_whole(root: Path) -> None:
    text = (root / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
