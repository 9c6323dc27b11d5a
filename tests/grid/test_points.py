"""Points as they are stored and read."""

from array import array

import pytest

from orchestrator import template, units
from orchestrator.points import MISSING, Column, Points, code_type


def sample():
    return Points(
        ids=bytearray(b"0123456789" * 2 + b"abcdefghij"),
        codes={"m": array("B", [0, 1, 0])},
        leaves={"rate": Column("m", [0.5, 1]), "l1.start": Column("m", [MISSING, [1, 2]]), "size": Column("", [3])},
        labels={"m": Column("m", ["A", MISSING])},
    )


def test_a_path_that_is_missing_at_a_point_is_left_out():
    points = sample()
    assert points.params(0) == {"rate": 0.5, "size": 3}
    assert points.params(1) == {"rate": 1, "l1.start": [1, 2], "size": 3}
    assert (points.label(0), points.label(1)) == ({"m": "A"}, {})
    assert (len(points), points.run_count(), points.id(2)) == (3, 2, b"abcdefghij")


def test_there_is_no_point_beyond_the_last():
    for i in (-1, 3):
        with pytest.raises(IndexError, match="no point"):
            sample().id(i)


def test_a_damaged_dump_is_refused():
    info = sample().dump()
    with pytest.raises(ValueError, match="not 3 points"):
        Points.load(info, b"0123456789")
    info["codes"]["m"]["data"] = ""
    with pytest.raises(ValueError, match="'m' are not 3 points"):
        Points.load(info, bytes(sample().ids))


@pytest.mark.parametrize(("count", "expected"), [(1, "B"), (256, "B"), (257, "H"), (65_536, "H"), (65_537, "I")])
def test_codes_are_as_small_as_they_can_be(count, expected):
    assert code_type(count) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("40m", 2400), ("1h30m", 5400), ("1.5d", 129_600), ("0s", 0)]
)
def test_durations(text, expected):
    assert units.seconds(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("2G", 2 * 1024**3), ("512 MiB", 512 * 1024**2), ("1.5KB", 1536)])
def test_sizes(text, expected):
    assert units.size(text) == expected


@pytest.mark.parametrize("text", ["40", "", "m", "40 x", "-3m", "2g"])
def test_what_is_no_duration_and_no_size_is_refused(text):
    with pytest.raises(ValueError, match="unit"):
        units.seconds(text)
    with pytest.raises(ValueError, match="unit"):
        units.size(text)


def test_a_template_is_filled_and_its_escape_kept():
    text = "run ${a.b} ${ seed } $${a} $HOME ${a.b}"
    assert template.names(text) == ["a.b", "seed", "a.b"]
    assert template.fill(text, lambda name: f"<{name}>") == "run <a.b> <seed> ${a} $HOME <a.b>"
    with pytest.raises(ValueError, match="not closed"):
        template.names("run ${a")
