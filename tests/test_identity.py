"""The encoding of identities is frozen: results on disk are named by it."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import identity

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
LEAVES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)

GOLDEN = {
    "empty": ({}, "up6svyax5gpxsnne"),
    "one seed": ({"seed": 0}, "pzlezno72u4lmhnk"),
    "every kind": (
        {"flag": True, "off": False, "none": None, "text": "nmru", "rate": 1e-3, "big": 10**20, "range": [-2, 2.5]},
        "lye5g7nqvh633kby",
    ),
    "nested lists": ({"range": [[-6, -2], [2, 6]], "μ": "ü"}, "3y5xmfvt46igux6r"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids_never_change(name):
    leaves, expected = GOLDEN[name]
    assert identity.run_id("arithmetic.single_layer", 1, leaves) == expected


def test_experiment_and_version_are_part_of_the_id():
    ids = {identity.run_id(name, version, {"seed": 1}) for name in ("a", "b") for version in (1, 2)}
    assert len(ids) == 4


@given(st.dictionaries(st.text(), LEAVES, max_size=5))
def test_an_id_is_16_characters_and_reads_back(leaves):
    text = identity.run_id("x", 1, leaves)
    assert len(text) == identity.ID_TEXT
    assert identity.to_text(identity.from_text(text)) == text


@given(st.dictionaries(st.text(), LEAVES, max_size=5))
def test_the_order_of_parameters_does_not_matter(leaves):
    backwards = dict(reversed(list(leaves.items())))
    assert identity.run_id("x", 1, leaves) == identity.run_id("x", 1, backwards)


@given(LEAVES, LEAVES)
def test_values_encode_equally_exactly_when_they_are_equal(one, other):
    assert (identity.encode(one) == identity.encode(other)) == same(one, other)


def same(one, other):
    """Equality that tells booleans from numbers, at every depth."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_integer_is_the_same_however_it_is_spelled(number):
    assert identity.encode(number) == identity.encode(float(number))


def test_negative_zero_is_zero():
    assert identity.encode(-0.0) == identity.encode(0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [1.0, math.nan]])
def test_non_finite_numbers_have_no_identity(value):
    with pytest.raises(ValueError, match="finite"):
        identity.encode(value)


def test_mappings_are_not_leaves():
    with pytest.raises(TypeError, match="dict"):
        identity.encode({"a": 1})


def test_a_damaged_id_is_refused():
    with pytest.raises(ValueError, match="15 characters"):
        identity.from_text("a" * 15)


def test_fragments_assemble_to_the_same_id():
    leaves = {"b": 2, "a": 1}
    head = identity.prefix("x", 3)
    raw = hashlib.blake2b(head + identity.leaf("a", 1) + identity.leaf("b", 2), digest_size=identity.ID_BYTES).digest()
    assert identity.to_text(raw) == identity.run_id("x", 3, leaves)
