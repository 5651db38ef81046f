# SPDX-License-Identifier: Apache-2.0
"""The options: checked all at once, and the same after a trip through a file; YAML without surprises."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1ml import yamlfile
from l1ml.config import LAYER_KEYS, ProjectConfig, default_mapping, read_yaml, refuse_unknown, write_yaml
from l1ml.errors import ConfigError, DataError

FULL: dict[str, Any] = {
    "model": "tagger.json",
    "weights": "tagger.h5",
    "output_dir": "prj",
    "name": "jets",
    "input_type": {"jets": "fixed<14,4>", "met": "ufixed<10,10,RND,SAT>"},
    "raw_type": {"pt": {"type": "ufixed<16,16>", "shape": [10, 3]}},
    "preprocess": "prepare",
    "interface": "axis",
    "clock_mhz": 240.47,
    "tmux": 6,
    "part": "xcku15p-ffva1760-2-e",
    "stages": 7,
    "latency_budget_ns": 125.5,
    "events": "events.h5",
    "links": {"links_in": 4, "fields": [{"name": "pt", "lsb": 0}]},
    "layers": {"fc1": {"weight": "fixed<6,1>", "output": "ufixed<6,0,RND_CONV,SAT>"}},
    "precision": {"model": "fixed<16,6,RND_CONV,SAT>"},
    "calibration": "events.h5",
    "hardware": "none",
    "plan": {"lanes": 2, "layers": {"fc1": {"reuse_factor": 4, "strategy": "resource"}}},
    "strict": True,
    "keep_softmax": True,
}


def test_defaults() -> None:
    config = ProjectConfig.from_mapping({})
    assert config == ProjectConfig()
    assert (config.clock_mhz, config.tmux, config.part) == (360.71, None, "xcvu13p-flga2577-2-e")
    assert (config.interface, config.name, config.input_type) == ("auto", "l1ml", None)
    assert default_mapping() == config.to_mapping()


def test_every_option_survives_a_file(tmp_path: Path) -> None:
    config = ProjectConfig.from_mapping(FULL)
    assert config.to_mapping() == FULL
    assert list(config.to_mapping()) == list(FULL)
    write_yaml(tmp_path / "cfg.yml", config.to_mapping())
    assert ProjectConfig.read(tmp_path / "cfg.yml") == config


def test_mappings_are_copies() -> None:
    mine: dict[str, Any] = {"links": {"fields": [1]}}
    config = ProjectConfig.from_mapping(mine)
    config.to_mapping()["links"]["fields"].append(2)
    mine["links"]["fields"].append(3)
    assert config.links == {"fields": [1]}
    default_mapping()["layers"]["fc1"] = {}
    assert default_mapping()["layers"] == {}


def test_numpy_numbers_and_paths_are_welcome() -> None:
    config = ProjectConfig.from_mapping(
        {"clock_mhz": np.float32(200), "tmux": np.int64(6), "model": Path("a/b.h5")}
    )
    assert (config.clock_mhz, config.tmux, config.model) == (200.0, 6, "a/b.h5")
    assert [type(value) for value in (config.clock_mhz, config.tmux, config.model)] == [float, int, str]


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ProjectConfig.from_mapping(
            {"clock_mz": 360, "tmux": 0, "part": 13, "layers": {"fc1": {"wieght": "fixed<6,1>"}}},
            where=("cfg.yml",),
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 options are wrong:"
    assert lines[1].startswith(
        "  - unknown key 'clock_mz': did you mean clock_mhz? allowed are calibration, clock_mhz, events,"
    )
    assert lines[2] == "  - tmux must be a whole number from 1 to 3564, found a whole number 0"
    assert lines[3] == "  - part must be an FPGA part, e.g. xcvu13p-flga2577-2-e, found a whole number 13"
    assert lines[4] == "  - layers.fc1: unknown key 'wieght': did you mean weight? allowed are " + ", ".join(
        sorted(LAYER_KEYS)
    )
    assert lines[5:] == [
        "  in  cfg.yml",
        "  fix `l1ml config` writes a file with every option and its default",
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", 3, r"^model must be a path, found a whole number 3"),
        ("model", "", r"^model must be a path, found text ''"),
        ("model", "a\0b", r"^model must be a path"),
        ("name", "1st", r"^name must be a letter, then up to 39 letters, digits and _, found text '1st'"),
        ("name", "a;rm", r"^name must be"),
        ("name", False, r"^name must be .*, found true or false False"),
        ("input_type", 14, r"^input_type must be a type such as fixed<14,4>, found a whole number 14"),
        ("input_type", "fixed<14>", r"^input_type: not a fixed-point type: 'fixed<14>'"),
        (
            "input_type",
            {"x": "int8", "y": None},
            r"input_type\.x: not a fixed-point type.*\n.*input_type\.y must be",
        ),
        ("input_type", {3: "fixed<14,4>"}, r"^input_type\.3 must be text"),
        ("interface", "../emp", r"^interface must be the name of a link"),
        ("clock_mhz", "fast", r"^clock_mhz must be a number, found text 'fast'"),
        ("clock_mhz", True, r"^clock_mhz must be a number, found true or false True"),
        ("clock_mhz", float("nan"), r"^clock_mhz must be a number, found a number nan"),
        ("clock_mhz", 10**400, r"^clock_mhz must be a number"),
        ("clock_mhz", 3000, r"^clock_mhz: clock of 3000\.0 MHz; allowed are 1 to 1500 MHz"),
        ("tmux", 3565, r"^tmux must be a whole number from 1 to 3564, found a whole number 3565"),
        ("tmux", 1.5, r"^tmux must be a whole number from 1 to 3564, found a number 1\.5"),
        ("tmux", True, r"^tmux must be a whole number"),
        ("part", "x; exit", r"^part must be an FPGA part"),
        ("stages", 0, r"^stages must be a whole number from 1 to 10000, found a whole number 0"),
        ("latency_budget_ns", 0, r"^latency_budget_ns must be above 0, found 0\.0"),
        ("links", [1], r"^links must be a mapping, found a list"),
        ("layers", {"fc1": "fixed<6,1>"}, r"^layers\.fc1 must be a mapping, found text 'fixed<6,1>'"),
        (
            "layers",
            {"fc1": {"weight": "fixed<0,1>"}},
            r"^layers\.fc1\.weight: .* has 0 bits; allowed are 1 to 62",
        ),
        ("keep_softmax", "yes", r"^keep_softmax must be true or false, found text 'yes'"),
        ("plan", {"lane": 2}, r"^plan: unknown key 'lane': did you mean lanes\?"),
        (
            "plan",
            {"layers": {"d": {"strategy": "fast"}}},
            r"^plan\.layers\.d\.strategy must be latency or resource",
        ),
        ("hardware", "serial", r"^hardware must be auto, parallel, streamed or none"),
    ],
)
def test_wrong_values(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProjectConfig.from_mapping({key: value})


def test_not_even_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"^options must be a mapping, found a list"):
        ProjectConfig.from_mapping([1])  # type: ignore[arg-type]


def test_a_configuration_file_names_model_and_folder(tmp_path: Path) -> None:
    write_yaml(tmp_path / "cfg.yml", {"tmux": 1})
    with pytest.raises(
        ConfigError, match=r"^model and output_dir must be given\n  in  .*cfg\.yml\n  fix add the line model"
    ):
        ProjectConfig.read(tmp_path / "cfg.yml")


def test_refuse_unknown() -> None:
    refuse_unknown({"lut": 1}, ("lut", "ff"))
    with pytest.raises(
        ConfigError, match=r"^unknown key 'luts': did you mean lut\? allowed are ff, lut\n  in  budget"
    ):
        refuse_unknown({"luts": 1}, ("lut", "ff"), where=("budget.yml",))


def yaml_of(tmp_path: Path, text: str | bytes) -> dict[str, Any]:
    file = tmp_path / "x.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0x1F", None),
        ("0x1F", 31),
        ("-7", -7),
        ("1_000", 1000),
        ("010", "010"),
        ("12:30", "12:30"),
        ("yes", "yes"),
        ("off", "off"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("1.2.3", "1.2.3"),
        (".inf", float("inf")),
        ("fixed<14,4>", "fixed<14,4>"),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    if text == "-0x1F":
        value = "-0x1F"
    got = yaml_of(tmp_path, f"k: {text}\n")["k"]
    assert got == value
    assert type(got) is type(value)


BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"^not usable YAML: key 'a' is given twice \(line 3, column 1\)"),
        ("k:\n  - {a: 1, a: 2}\n", r"key 'a' is given twice \(line 2"),
        (BOMB, r"^not usable YAML: aliases \(\*name\) are not allowed; write the value out \(line 2"),
        ("a: &a [*a]\n", r"aliases"),
        ("k: " + "[" * 3000, r"^not usable YAML: nested deeper than 40 levels"),
        (
            "!!python/object/apply:os.system [ls]\n",
            r"tags are not allowed, found 'tag:yaml\.org,2002:python/object/apply:os\.system' \(line 1",
        ),
        ("k: !!bool maybe\n", r"tags are not allowed"),
        ("k: !!map [1]\n", r"tags are not allowed"),
        ("k: !mine 3\n", r"tags are not allowed, found '!mine'"),
        ("[1, 2]: 3\n", r"a key must be text or a number \(line 1"),
        ("- 1\n- 2\n", r"^a mapping \(key: value\) is expected, found list"),
        ("3: 4\n", r"^keys must be text, found 3\n.*\n  fix put it in quotes: \"3\""),
        ("a: b: c\n", r"^not usable YAML: mapping values are not allowed here \(line 1, column 5\)"),
        ("a: 1\n--- \nb: 2\n", r"^not usable YAML: but found another document"),
        ("\x01\n", r"^not usable YAML"),
        (b"k: \xff\n", r"^not a text file: byte 3 is not UTF-8"),
        (b"\x89HDF\r\n\x1a\n\0\0", r"^not a text file: byte 0 is not UTF-8"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        yaml_of(tmp_path, text)
    assert caught.value.where == (str(tmp_path / "x.yml"),)


def test_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "MAX_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match=r"^the file is larger than 1 MiB"):
        yaml_of(tmp_path, "#" * ((1 << 20) + 1))
    assert yaml_of(tmp_path, "#" * (1 << 20)) == {}


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^cannot read the file: No such file or directory\n  in  .*none\.yml"
    ):
        read_yaml(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match=r"^cannot read the file: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(DataError, match=r"^cannot write the file: No such file or directory"):
        write_yaml(tmp_path / "none" / "x.yml", {})


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yml"
    write_yaml(file, {"a": 1})
    with pytest.raises(ConfigError, match=r"^not plain data: "):
        write_yaml(file, {"a": object()})
    assert read_yaml(file) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.yml"]


def test_a_full_disk_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=r"^cannot write the file: No space left on device\n  in  .*x\.yml"):
        write_yaml(tmp_path / "x.yml", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    shared = {"weight": "fixed<6,1>"}
    write_yaml(tmp_path / "x.yml", {"b": 1e-3, "a": [shared, shared], "t": (1, 2)})
    assert (tmp_path / "x.yml").read_text() == (
        "b: 0.001\na:\n- weight: fixed<6,1>\n- weight: fixed<6,1>\nt:\n- 1\n- 2\n"
    )


# Text that some YAML reader takes for something else.
TRAPS = (
    *("1e3", "yes", "010", "0x10", "1_0", "~", "null", "true", ".5", "1.", "12:30", "2024-01-01"),
    *("-", "<<", "a: b", "=", "!x", "&x", "*x", "#", "", " "),
)
letters = st.characters(exclude_categories=("Cs", "Cc"))
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False)
plain = st.recursive(
    scalars | st.text(letters, max_size=8) | st.sampled_from(TRAPS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text("xyz-1", min_size=1), plain, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    file = tmp_path_factory.mktemp("yaml") / "x.yml"
    write_yaml(file, data)
    assert read_yaml(file) == data
