"""What holds for every grid: counts, order, identities, and that nothing is lost when points are stored."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.experiment import absent_values, flatten
from orchestrator.grid import expand, load, points
from orchestrator.grid.document import parse
from orchestrator.points import Points

from .conftest import HEAD, HERE
from .toy_experiment import EXP, Params

VALUES = {
    "seed": st.integers(0, 2**63 - 1),
    "layer": st.sampled_from(["nmru", "real-npu"]),
    "input_size": st.integers(-(10**9), 10**9),
    "learning_rate": st.floats(1e-300, 1e300),
    "clip_norm": st.none() | st.floats(-1e300, 1e300),
    "interpolation": st.tuples(st.floats(-1e9, 1e9), st.integers(-5, 5)).map(list),
    "note": st.text(max_size=5).filter(lambda text: "${" not in text),
    "flag": st.booleans(),
    "added": st.integers(0, 2),
    "l1": st.fixed_dictionaries({}, optional={"start": st.floats(-1e5, 1e5), "end": st.integers(10**7, 10**8)}),
    "regulariser": st.none() | st.just({}) | st.fixed_dictionaries({"start": st.floats(0, 1e5)}),
    "optimiser": st.sampled_from([{"kind": "sgd"}, {"kind": "sgd", "momentum": 0.5}]),
}


@st.composite
def grids(draw):
    """Grids in which no two axes set one leaf; JSON is YAML."""
    fields = draw(st.permutations(list(VALUES)))
    cut = draw(st.integers(0, 4))
    axes = {}
    for i, name in enumerate(fields[:cut]):
        if draw(st.booleans()):
            kept = draw(st.lists(VALUES[name], min_size=1, max_size=3, unique_by=unique))
            axes[name] = kept
        else:
            partner = fields[-1 - i]
            body = st.fixed_dictionaries({}, optional={name: VALUES[name], partner: VALUES[partner]})
            axes[f"bundle{i}"] = draw(st.dictionaries(st.sampled_from("ABC"), body, min_size=1, max_size=3))
    grid = {"axes": axes, "set": draw(st.fixed_dictionaries({}, optional=VALUES))}
    names = [name for name in axes if not name.startswith("bundle")]
    if names and draw(st.booleans()):
        name = draw(st.sampled_from(names))
        value = draw(st.sampled_from(axes[name]))
        if not isinstance(value, (dict, list)):
            grid["skip"] = [{name: value}]
            grid["when"] = [{"if": {name: value, "flag": True}, "set": {"input_size": 77}}]
    if draw(st.booleans()):
        grid["also"] = [{"set": draw(st.fixed_dictionaries({}, optional=VALUES))}]
    return grid


def unique(value):
    return identity.encode(value) if not isinstance(value, dict) else json.dumps(value)


def yaml(grid):
    return load(
        "".join([HEAD, *(f"{key}: {json.dumps(part)}\n" for key, part in grid.items())]), file="g", project=HERE
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grids())
def test_the_fast_way_is_the_plain_way(grid):
    loaded = yaml(grid)
    found = expand(loaded)
    assert loaded.count() == len(found)
    absent = absent_values(Params)
    plain = []
    for resolver in loaded.resolvers:
        for codes in every(resolver.sub.axes):
            rules = [(r, None) for r in resolver.sub.skips] + [
                (r, k) for k, r in enumerate(resolver.sub.whens) if r.drop
            ]
            if any(all(resolver.holds(match, codes, stage) for match in rule.condition) for rule, stage in rules):
                continue
            plain.append(flatten(Params.model_validate(resolver.raw(codes))))
    for i, leaves in enumerate(plain):
        assert found.params(i) == {path: list(v) if isinstance(v, tuple) else v for path, v in leaves.items()}
        kept = {p: v for p, v in leaves.items() if p not in absent or identity.encode(v) != identity.encode(absent[p])}
        assert identity.to_text(found.id(i)) == identity.run_id(EXP.name, EXP.version, kept)
    assert len(plain) == len(found)
    again = Points.load(json.loads(json.dumps(found.dump())), bytes(found.ids))
    lazy = list(points(loaded))
    for i, point in enumerate(lazy):
        assert point.id == identity.to_text(found.id(i))
        assert point.params == found.params(i) == again.params(i)
        assert point.label == found.label(i) == again.label(i)


def every(axes):
    """All codes in grid order, written another way."""
    codes = [[]]
    for axis in axes:
        codes = [[*head, code] for head in codes for code in range(len(axis))]
    return codes


@given(st.integers(-(10**6), 10**6), st.integers(0, 50))
def test_a_span_is_what_it_says(first, length):
    grid = load(f"{HEAD}axes: {{input_size: {first}..{first + length}}}\n", file="g", project=HERE)
    found = expand(grid)
    assert [found.params(i)["input_size"] for i in range(len(found))] == list(range(first, first + length + 1))
    assert grid.count() == length + 1


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("abé:- \n[]{},&*!|>'\"#%\t0.9_?e+~<"), max_size=60))
def test_no_text_breaks_the_reader(text):
    with suppress(UserError):  # and nothing else
        parse(text, "g")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        # A key may have 1,024 characters in YAML, escapes included.
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=80), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_reads_as_yaml(value):
    assert parse(json.dumps(value), "g").plain == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50_000", 50_000), ("1e-3", 1e-3), ("1E3", 1000.0), ("-.5", -0.5), ("1.", 1.0), ("0o17", 15), ("0xff", 255),
        ("007", 7), ("+3", 3), ("off", "off"), ("yes", "yes"), ("No", "No"), ("TRUE", True), ("~", None), ("", None),
        ("2024-01-01", "2024-01-01"), ("1:30", "1:30"), ("_1", "_1"), ("1_", "1_"), ("1__0", "1__0"),
        ("1_0.2_5", 10.25), ("e3", "e3"),
        ("1e5_0", "1e5_0"), ("'1'", "1"), ("1.2.3", "1.2.3"), ("0b1", "0b1"), ("nan", "nan"), ("=", "="),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text, value):
    found = parse(f"a: {text}", "g").plain["a"]
    assert found == value
    assert type(found) is type(value)
