# SPDX-License-Identifier: Apache-2.0
"""Links: descriptions, layouts and everything that can be wrong with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from l1ml import yamlfile
from l1ml.errors import ConfigError, DataError, InterfaceError
from l1ml.links import spec
from l1ml.links.fields import Element
from l1ml.links.layout import LinkLayout
from l1ml.links.resolve import resolve
from l1ml.types.timing import Clock

FAST, SLOW = Clock(360.71), Clock(240.47)


def elements(count: int, width: int, stem: str = "x") -> list[Element]:
    return [Element(f"{stem}[{k}]", width, True) for k in range(count)]


def make(name="emp", inputs=None, outputs=None, clock=FAST, tmux=1, **options) -> LinkLayout:
    return resolve(
        name,
        inputs or elements(16, 14),
        outputs or elements(5, 16, "y"),
        clock=clock,
        tmux=tmux,
        options=options,
    )


def test_every_link_has_a_description_a_template_and_a_readme():
    assert spec.available() == ["axis", "emp", "parallel"]
    for name in spec.available():
        folder = spec.assets.path("interfaces", name)
        described = spec.load(name)
        assert {p.name for p in folder.iterdir()} == {"interface.yaml", "wrapper.sv.j2", "README.md"}
        readme = (folder / "README.md").read_text()
        for error in described.errors:
            assert f"| {error.bit} | {error.name} |" in readme
        for option in described.options:
            assert f"`{option}`" in readme


def test_jets_on_one_emp_link():
    layout = make()
    assert (layout.words_per_bx, layout.frame_words, layout.link_cycles) == (9, 9, 9)
    assert (layout.n_links_in, layout.last_word_needed, layout.collect_cycles, layout.emit_cycles) == (
        1,
        3,
        4,
        1,
    )
    assert (layout.n_links_out, layout.words_out) == (1, 2)
    assert [p.name for p in layout.ports[:4]] == ["clk_i", "rst_i", "rx0_data_i", "rx0_valid_i"]
    assert (layout.clock_port, layout.reset_port, layout.reset_active_low) == ("clk_i", "rst_i", False)
    assert layout.in_chunks == 6
    assert layout.out_chunks == 8


@pytest.mark.parametrize(
    ("clock", "tmux", "words", "frame"),
    [
        (FAST, 1, 9, 9),
        (SLOW, 1, 6, 6),
        (FAST, 6, 9, 48),
        (FAST, 18, 9, 156),
        (SLOW, 18, 6, 102),
        (Clock(360.0), 1, 9, 9),  # people round 360.71
        (Clock(250.0), 1, 6, 6),
        (Clock(230.0), 1, 5, 5),
    ],
)
def test_words_of_a_frame(clock, tmux, words, frame):
    layout = make(inputs=elements(4, 14), clock=clock, tmux=tmux)
    assert (layout.words_per_bx, layout.frame_words, layout.link_cycles) == (words, frame, words * tmux)


def test_the_gap_is_the_users_choice():
    assert make(tmux=6, interpacket_gap=44).frame_words == 10
    with pytest.raises(InterfaceError, match="leaves none of the 9 words"):
        make(interpacket_gap=9)


def test_more_links_shorten_the_collection():
    assert [make(links_in=n).collect_cycles for n in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(InterfaceError, match=r"nothing lies on link 4, .*set links_in to 4"):
        make(links_in=8)


def test_as_many_links_as_needed():
    layout = make(inputs=elements(57, 32))
    assert (layout.n_links_in, layout.last_word_needed) == (4, 7)
    with pytest.raises(
        InterfaceError, match=r"the inputs need 4 links, there is room for 2 link\(s\) of 9 words"
    ):
        make(inputs=elements(57, 32), links_in=2)
    with pytest.raises(InterfaceError, match="links"):
        make(inputs=elements(9 * 129, 64))


def test_axis_packets_are_as_long_as_needed():
    layout = make("axis", word_bits=32)
    assert (layout.frame_words, layout.words_out, layout.link_cycles) == (8, 3, 8)
    assert (layout.clock_port, layout.reset_port, layout.reset_active_low) == ("aclk", "aresetn", True)
    assert [p.name for p in layout.data_ports("in")] == [
        "s_axis_tdata", "s_axis_tvalid", "s_axis_tlast", "s_axis_tuser", "m_axis_tready",
    ]  # fmt: skip
    assert make("axis", words_in=9).frame_words == 9
    with pytest.raises(InterfaceError, match=r"words_in is 3; the fields need 4, an event has 9"):
        make("axis", words_in=3)
    with pytest.raises(
        InterfaceError, match=r"x\[0\] has 14 bits, a word 8 \(16 of 16 fields are too wide\)"
    ):
        make("axis", word_bits=8)
    with pytest.raises(
        InterfaceError, match=r"the inputs need 16 words, there is room for 1 link\(s\) of 9 words"
    ):
        make("axis", word_bits=16)


def test_parallel_is_as_wide_as_the_event():
    layout = make("parallel", outputs=elements(3, 13, "y"))
    assert (layout.word_bits, layout.out_word_bits, layout.link_cycles) == (224, 39, 1)
    assert (layout.collect_cycles, layout.emit_cycles) == (1, 0)
    assert [(p.name, p.width) for p in layout.ports] == [
        ("clk_i", 1), ("rst_i", 1), ("valid_i", 1), ("data_i", 224), ("valid_o", 1), ("data_o", 39),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["emp", "axis", "parallel"])
def test_layout_survives_the_manifest(name):
    layout = make(name)
    plain = json.loads(json.dumps(layout.to_dict()))
    assert LinkLayout.from_dict(plain) == layout
    assert plain["collect_cycles"] == layout.collect_cycles
    assert str(layout).startswith(f"{name}: 1 link(s) in")


def test_damaged_manifest_is_refused():
    plain = make().to_dict()
    for key in ("in_fields", "ports", "tmux"):
        with pytest.raises(DataError, match="layout cannot be read"):
            LinkLayout.from_dict({k: v for k, v in plain.items() if k != key})
    twice = json.loads(json.dumps(plain))
    twice["in_fields"][1]["lsb"] = 3
    with pytest.raises(
        InterfaceError, match=r"x\[0\] \(bits 13:0\) and x\[1\] \(bits 16:3\) overlap in link 0 word 0"
    ):
        LinkLayout.from_dict(twice)


def test_errors_have_names():
    layout = make()
    assert layout.error_names(0b10000101) == ("short_frame", "valid_gap", "output_cut")
    assert layout.to_dict()["errors"][6]["name"] == "links_out_of_step"


# --- the user's own fields


def place(word: int, bits: str, link: int = 0) -> dict[str, object]:
    return {"link": link, "word": word, "bits": bits}


def test_own_fields_are_taken():
    two = elements(2, 14)
    given = {"x[0]": place(7, "63:50"), "x[1]": place(2, "13:0", link=1)}
    layout = make(inputs=two, fields={"inputs": given})
    assert (layout.n_links_in, layout.last_word_needed) == (2, 7)
    assert str(layout.in_fields[0]) == "x[0]: link 0 word 7 bits 63:50"
    assert layout.out_fields == make(inputs=two).out_fields  # packed, as before


def test_output_fields_may_be_wider():
    outs = [Element("y[0]", 5, True), Element("y[1]", 1, False)]
    layout = make(outputs=outs, fields={"outputs": {"y[0]": place(1, "31:0"), "y[1]": place(0, "7")}})
    assert [(f.width, f.element_width, f.element_lsb) for f in layout.out_fields] == [(32, 5, 0), (1, 1, 5)]
    assert layout.words_out == 2


def test_fields_from_a_file(tmp_path):
    file = tmp_path / "fields.yml"
    file.write_text('inputs:\n  "x[0]": {word: 3, bits: "13:0"}\n')
    assert make(inputs=elements(1, 14), fields=str(file)).last_word_needed == 3
    file.write_text("inputz: {}\n")
    with pytest.raises(ConfigError, match="did you mean inputs"):
        make(inputs=elements(1, 14), fields=str(file))


def test_names_may_have_blanks_between_indices():
    ins = [Element("x[0,1]", 4, False)]
    assert make(inputs=ins, fields={"inputs": {"x[0, 1]": place(0, "3:0")}}).in_fields[0].name == "x[0,1]"


def test_all_that_is_wrong_is_named_at_once():
    wrong = {
        "x[0]": place(0, "12:0"),
        "x[1]": place(0, "40:27"),
        "x[2]": place(0, "41:28"),
        "x[3]": place(9, "13:0"),
        "x[4]": place(1, "70:57"),
        "x[5]": {"bits": "0:13"},
        "x[6]": {"bits": "13:0", "wrd": 1},
        "x[7]": place(-1, "13:0"),
        "x[8]": place(5, "14:0"),
        "x[99]": place(6, "13:0"),
        "x[9]": "13:0",
        "x[10]": {"word": 1},
    }
    with pytest.raises(InterfaceError) as caught:
        make(fields={"inputs": wrong, "outputs": {"y[0]": place(0, "14:0")}})
    text = str(caught.value)
    for pattern in (
        r"x\[0\]: 13 bits given, the element has 14; give 14",
        r"x\[1\] \(bits 40:27\) and x\[2\] \(bits 41:28\) overlap in link 0 word 0",
        r"x\[3\]: word 9 is outside the frame of 9 words",
        r"x\[4\]: bit 70 is outside a word of 64 bits",
        r"x\[5\]: bits 0:13: the higher bit comes first",
        r"x\[6\]: unknown key 'wrd'; did you mean word",
        r"x\[7\]: word must be a whole number from 0 to \d+, found -1",
        r"x\[8\]: 15 bits given, the element has 14; give 14",
        r"unknown field 'x\[99\]'; did you mean x\[9\]",
        r"x\[9\]: must be \{link",
        r"x\[10\]: bits must be",
        r"no place is given for x\[11\], x\[12\]",
        r"outputs: y\[0\]: 15 bits given, the element has 16; give at least 16",
        r"no place is given for y\[1\]",
    ):
        assert re.search(pattern, text), pattern


@pytest.mark.parametrize(
    ("interface", "given", "message"),
    [
        ("axis", {"x[0]": place(0, "13:0", link=1)}, "link 1 does not exist, axis has one"),
        ("parallel", {"x[0]": place(1, "13:0")}, "word 1 is outside the frame of 1 words"),
        ("emp", {"x[0]": place(0, "13:0", link=3)}, "nothing lies on link 0, 1, 2"),
        ("emp", ["x[0]"], "must be a mapping"),
        ("emp", {"x[0]": {"bits": True}}, "bits must be"),
    ],
)
def test_fields_that_do_not_fit_the_link(interface, given, message):
    with pytest.raises(InterfaceError, match=message):
        make(interface, inputs=elements(1, 14), fields={"inputs": given})


def test_wrong_options_are_named_at_once():
    with pytest.raises(
        ConfigError, match=r"(?s)'lnks': did you mean links.*interpacket_gap must be .* found -1.*True"
    ):
        make(lnks=1, interpacket_gap=-1, words_out=True)
    with pytest.raises(ConfigError, match="a multiple of 8, found 60"):
        make("axis", word_bits=60)
    with pytest.raises(InterfaceError, match="did you mean axis"):
        make("axi")
    with pytest.raises(ConfigError, match="fields must be a mapping or a path"):
        make(fields=3)


def test_output_must_fit_the_link_period():
    with pytest.raises(InterfaceError, match="words_out is 10; the fields need 2, an event has 9"):
        make(words_out=10)
    assert make(words_out=9).words_out == 9


# --- descriptions


def test_wrong_descriptions_are_refused(tmp_path):
    good = spec.assets.path("interfaces", "emp", "interface.yaml").read_text()
    folder = tmp_path / "emp"
    folder.mkdir()
    file = folder / "interface.yaml"
    for old, new, message in (
        ("l1ml-interface/1", "l1ml-interface/9", "schema is"),
        ("title:", "tite:", "did you mean"),
        ("frame: link", "frame: lonk", "cannot be understood"),
        ("emit_cycles: 1", "emit_cycles: .inf", "emit_cycles is inf, expected a whole number"),
        ("emit_cycles: 1", "emit_cycles: 1.5", "emit_cycles is 1.5, expected a whole number"),
        ("word_bits: 64", "word_bits: true", "word_bits is True, expected a whole number"),
        ("name: emp", "name: amp", "the folder is 'emp'"),
        ("role: strobe}", "role: valid}", "more than one in port is valid"),
        ("word_bits: 64", "word_bits: option", "word_bits"),
        ("clock: clk_i", "clock: clk-i", "'clk-i' is no plain name"),
        ("role: error}", "role: ready}", "belong together"),
    ):
        assert old in good
        file.write_text(good.replace(old, new))
        with pytest.raises(InterfaceError, match=message):
            spec.read(file)
    file.write_text(good)
    assert spec.read(file) == spec.load("emp")


def test_a_port_without_a_name_is_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "axis"
    folder.mkdir()
    data = yamlfile.read_yaml(root / "interfaces" / "axis" / "interface.yaml")
    data["ports"][0]["name"] = None
    yamlfile.write_yaml(folder / "interface.yaml", data)
    with pytest.raises(InterfaceError, match="cannot be understood"):
        spec.read(folder / "interface.yaml")
