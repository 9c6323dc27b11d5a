"""What a user can get wrong: each case is refused with a sentence, and with the place of what is wrong."""

import pytest

from orchestrator.errors import ExitCode, UserError
from orchestrator.grid import expand, load

from .conftest import HEAD, HERE

# name: (body after the two lines of the head, places as line:column, parts of the message)
BODIES = {
    "tab": ("set:\n\tseed: 1\n", ["4:1"], "tab"),
    "tab in flow": ("set: {seed: 1,\n\t]\n", ["4:2"], ""),
    "duplicate key": ("set: {seed: 1, seed: 2}\n", ["3:16", "3:7"], "twice"),
    "duplicate section": ("axes: {}\nset: {}\naxes: {}\n", ["5:1", "3:1"], "twice"),
    "unclosed": ("set: {seed: 1\n", ["4:1"], "not YAML"),
    "two documents": ("---\nset: {}\n", ["3:1"], "second"),
    "tag": ("set: {seed: !!int 3}\n", ["3:13"], "tag"),
    "unknown alias": ("set: *none\n", ["3:6"], "anchor"),
    "contains itself": ("set: &a [*a]\n", ["3:10"], "itself"),
    "unknown section": ("axis: {}\n", ["3:1"], "Did you mean 'axes'"),
    "unknown parameter": ("set: {lerning_rate: 1}\n", ["3:7"], "Did you mean 'learning_rate'"),
    "unknown parameter in a group": ("set: {l1: {stat: 1}}\n", ["3:12"], "Did you mean 'l1.start'"),
    "parameter without its group": ("set: {momentum: 1}\n", ["3:7"], "Did you mean 'optimiser.momentum'"),
    "unknown axis": ("axes: {lerning_rate: [1]}\n", ["3:8"], "Did you mean 'learning_rate'"),
    "unknown in a bundle": ("axes: {m: {A: {layr: nru}}}\n", ["3:16"], "Did you mean 'layer'"),
    "group given a value": ("set: {l1: 3}\n", ["3:11"], "group"),
    "value given a group": ("set: {seed: {a: 1}}\n", ["3:13"], "not a group"),
    "mapping in a list": ("set: {interpolation: [{a: 1}, 2]}\n", ["3:23"], "mapping"),
    "nested and dotted": ("set: {l1: {start: 1}, l1.start: 2}\n", ["3:23", "3:12"], "twice"),
    "off is text": ("set: {flag: off}\n", ["3:13"], "boolean"),
    "text for a number": ("set: {learning_rate: fast}\n", ["3:22"], 'learning_rate is "fast"; it should be a valid'),
    "a number for a whole number": ("set: {input_size: 1e-3}\n", ["3:19"], "0.001; it should be a valid integer"),
    "a date": ("set: {seed: 2024-01-01}\n", ["3:13"], "integer"),
    "not among the choices": ("set: {layer: NMRU}\n", ["3:14"], "'nmru', 'nru' or 'real-npu'"),
    "below its bound": ("axes: {learning_rate: [1, -1]}\n", ["3:27"], "greater than 0 (at learning_rate -1)"),
    "inside a list": ("set: {interpolation: [1, a]}\n", ["3:26"], 'interpolation[1] is "a"'),
    "too long a list": ("set: {interpolation: [1, 2, 3]}\n", ["3:22"], "interpolation"),
    "inside a group": ("set: {regulariser: {start: x}}\n", ["3:28"], "regulariser.start"),
    "wrong tag of a union": ("set: {optimiser: {kind: adm}}\n", ["3:25"], "optimiser"),
    "not of this member": ("set: {optimiser: {kind: adam, momentum: 1}}\n", ["3:31"], "no 'optimiser.momentum'"),
    "infinite": ("set: {learning_rate: .inf}\n", ["3:22"], "finite"),
    "not a number": ("set: {learning_rate: .nan}\n", ["3:22"], "finite"),
    "too large": ("set: {learning_rate: 1e400}\n", ["3:22"], "1e400 is too large"),
    "too many digits": (f"set: {{seed: {'9' * 5000}}}\n", ["3:13"], "300"),
    "reversed span": ("axes: {seed: 5..2}\n", ["3:14"], "2..5"),
    "empty list": ("axes: {seed: []}\n", ["3:14"], "no values"),
    "null axis": ("axes: {seed: null}\n", ["3:14"], "no values"),
    "empty bundle": ("axes: {m: {}}\n", ["3:11"], "no values"),
    "half a bundle": ("axes: {m: {A: {layer: nru}, B: 3}}\n", ["3:32"], "mapping"),
    "mappings without names": ("axes: {m: [{layer: nru}, {layer: nmru}]}\n", ["3:11"], "names"),
    "value twice": ("axes: {learning_rate: [0.1, 1, 1e-1]}\n", ["3:32", "3:24"], "twice"),
    "spans overlap": ("axes: {seed: [0..4, 3..6]}\n", ["3:21", "3:15"], "twice"),
    "two axes, one leaf": (
        "axes:\n  m: {A: {l1: {start: 1}}}\n  l1.start: [1, 2]\n", ["5:3", "4:16"], "both set 'l1.start'"
    ),
    "a null group against its leaf": ("axes:\n  m: {A: {l1: null}}\n  l1.start: [1, 2]\n", ["5:3", "4:11"], "both set"),
    "generator without count": ("axes: {learning_rate: {log: {start: 1, stop: 2}}}\n", ["3:29"], "lacks 'count'"),
    "unknown generator key": (
        "axes: {learning_rate: {log: {start: 1, stop: 2, cont: 3, count: 3}}}\n", ["3:49"], "Did you mean 'count'"
    ),
    "log through zero": ("axes: {learning_rate: {log: {start: 0, stop: 2, count: 3}}}\n", ["3:29"], "above 0"),
    "generator of billions": ("axes: {seed: {linear: {start: 0, stop: 9, count: 1_000_000_000}}}\n", ["3:50"], "count"),
    "product of 10^9": (
        "axes: {seed: 0..999, input_size: 1..1000, max_iterations: 1_001..2_000}\n",
        ["3:8", "3:22", "3:43"], "1,000,000,000 points",
    ),
    "one endless span": ("axes: {seed: 0..999_999_999_999}\n", ["3:8"], "points"),
    "empty condition": ("skip: [{}]\n", ["3:8"], "hold everywhere"),
    "condition on nothing known": ("skip: [{sed: 1}]\n", ["3:9"], "Did you mean 'seed'"),
    "condition on an unknown bundle": ("axes: {m: {NAU: {}}}\nskip: [{m: NAV}]\n", ["4:12"], "Did you mean 'NAU'"),
    "rule without if": ("when: [{set: {seed: 1}}]\n", ["3:8"], "{if:"),
    "rule with drop false": ("when: [{if: {seed: 1}, drop: false}]\n", ["3:30"], "drop: true"),
    "rule with unknown key": ("when: [{if: {seed: 1}, ste: {}}]\n", ["3:24"], "Did you mean 'set'"),
    "unknown reference": ('set: {note: "${sed}"}\n', ["3:13"], "Did you mean 'seed'"),
    "open reference": ('set: {note: "${seed"}\n', ["3:13"], "not closed"),
    "a call in an expression": ('set: {note: "${open(1)}"}\n', ["3:13"], "no expression"),
    "derives from itself": (
        'set: {seed: "${input_size}", input_size: "${seed}"}\n', ["3:42", "3:13"], "derives from itself"
    ),
    "arithmetic on text": ('set: {input_size: "${layer * 2}"}\n', ["3:19"], '"nmru" is not a number'),
    "division by zero": ('axes: {seed: 0..1}\nset: {input_size: "${4 // seed}"}\n', ["4:19"], "(at seed 0)"),
    "enormous power": ('set: {seed: "${9 ** 9 ** 9}"}\n', ["3:13"], "too large"),
    "check of one group": ("set: {l1: {start: 5, end: 2}}\n", ["3:19", "3:27"], "end (2) must be above start (5)"),
    "check across axes": (
        "axes:\n  layer: [nmru, nru]\n  operation: [mul, add]\n", ["4:17", "5:20"],
        "layer nru has no operation add (at layer nru, operation add)",
    ),
    "check across set and axis": (
        "set: {log_interval: 100}\naxes: {max_iterations: [200, 50]}\n", ["3:21", "4:30"], "(at max_iterations 50)"
    ),
    "time without unit": ("resources: {time: 40}\n", ["3:19"], "unit"),
    "clock time": ("resources: {time: 8:30:00}\n", ["3:19"], "unit"),
    "memory without unit": ("resources: {memory: 2000}\n", ["3:21"], "unit"),
    "memory in words": ("resources: {memory: lots}\n", ["3:21"], "unit"),
    "unknown resource": ("resources: {tiem: 4m}\n", ["3:13"], "Did you mean 'time'"),
    "neither auto nor a number": ("resources: {lanes: all}\n", ["3:20"], "'auto' or a valid integer"),
    "resources in a bundle": ("axes: {m: {A: {resources: {time: 3}}}}\n", ["3:34"], "unit"),
    "resources is no mapping": ("resources: 3\n", ["3:12"], "resources"),
    "bad tags": ("export: {tags: metric}\n", ["3:16"], "list"),
    "summary lacks": ("export: {summary: {select: a, error: b}}\n", ["3:19"], "lacks 'summary.threshold'"),
    "figure lacks": ("figures: [{name: a, x: seed}]\n", ["3:11"], "lacks 'script'"),
    "figure of no axis": ("figures: [{name: a, script: b, x: sed}]\n", ["3:35"], "Did you mean 'seed'"),
    "figure of nothing": ("figures: [{name: a, script: b}]\n", ["3:11"], "it needs x, an axis or a parameter"),
    "figure of two tables": (
        "figures: [{name: a, script: b, x: seed, table: 'm:f'}]\n", ["3:11"], "x and colour belong to figures without",
    ),
    "figure of a file": ("figures: [{name: a, script: b, table: t.csv}]\n", ["3:39"], "table"),
    "figure named as a path": ("figures: [{name: ../a, script: b, x: seed}]\n", ["3:18"], "name"),
    "also has a figure": ("also: [{figures: []}]\n", ["3:9"], "no 'figures'"),
    "also on another base": ("also: [{base: main}]\n", ["3:15"], "none"),
    "set is a list": ("set: [seed]\n", ["3:6"], "mapping"),
    "axes is a list": ("axes: [seed]\n", ["3:7"], "mapping"),
    "key is a list": ("? [a]\n: 1\n", ["3:3"], "name"),
    "half a surrogate": ('set: {note: "\\ud800"}\n', ["3:13"], "surrogate"),
    "both": ("command: ls\n", ["2:1", "3:1"], "either"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_grid_is_refused_in_its_place(name, toy):
    body, places, part = BODIES[name]
    with pytest.raises(UserError) as caught:
        expand(toy(body))
    error = caught.value
    assert part in error.message
    assert [f"{place.line}:{place.column}" for place in error.places] == places, str(error)
    assert {place.file for place in error.places} == {"grid.yaml"}
    assert error.exit_code is ExitCode.USAGE


WHOLE = {
    "empty": ("", "empty"),
    "only a comment": ("# nothing\n", "empty"),
    "a list": ("[1, 2]", "should be a mapping, not a list"),
    "no study": ("experiment: toy_experiment:EXP\n", "lacks 'study'"),
    "study is a number": ("study: 3\nexperiment: toy_experiment:EXP\n", "string"),
    "study is a path": ("study: ../x\nexperiment: toy_experiment:EXP\n", "a name has letters"),
    "no experiment": ("study: s\n", "either an experiment or a command"),
    "unknown experiment": ("study: s\nexperiment: arithmetic.single_laier\n", "Did you mean 'arithmetic.single_layer'"),
    "no such module": ("study: s\nexperiment: no_such_module_here:EXP\n", "cannot be loaded"),
    "null byte": ("study: a\0b\n", "not YAML"),
    "too large": ("# " + "x" * 1_000_001, "1,000,000 bytes"),
    "deep list": (HEAD + "set: " + "[" * 5000 + "]" * 5000, "nested at most 32"),
    "deep mapping": (HEAD + "".join(" " * i + "a:\n" for i in range(600)), "nested at most 32"),
    "deep block list": (HEAD + "set:\n" + "- " * 5000 + "1", "nested at most 32"),
    "many nodes": (HEAD + "axes: {seed: [" + "1," * 100_001 + "]}", "100,000 nodes"),
    "alias bomb": (
        HEAD + "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 9)),
        "100,000 nodes",
    ),
    "merge bomb": (
        HEAD + "a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(300)) + "}\n"
        + "".join(f"b{i}: {{<<: *a0}}\n" for i in range(400)),
        "100,000 nodes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_bad_file_is_refused(name):
    text, part = WHOLE[name]
    with pytest.raises(UserError) as caught:
        load(text, file="grid.yaml", project=HERE)
    assert part in caught.value.message
    assert caught.value.places


OVERRIDES = {
    "no equals": ("seed", "key=value", 1),
    "no key": ("=3", "key=value", 1),
    "no value": ("seed=", "null", 1),
    "unknown": ("sede=3", "Did you mean 'seed'", 1),
    "reversed": ("seed=4..2", "2..4", 6),
    "wrong type": ("input_size=x", "integer", 12),
    "no yaml": ("seed={", "not YAML", 7),
    "unknown bundle": ("model=NMRV", "Did you mean 'NMRU'", 7),
    "unknown resource": ("resources.tiem=3m", "Did you mean 'time'", 1),
    "resource without unit": ("resources.time=3", "unit", 16),
    "study": ("study=a/b", "name", 7),
    "deep": ("seed=" + "[" * 5000, "nested", 38),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_bad_override_is_refused_with_its_place_on_the_command_line(name, toy):
    word, part, column = OVERRIDES[name]
    with pytest.raises(UserError) as caught:
        expand(toy("axes: {model: {NMRU: {layer: nmru}}, seed: 0..3}\n", "log_interval=10", word))
    assert part in caught.value.message
    place = caught.value.places[0]
    assert (place.file, place.line) == ("command line", 1)
    assert place.column == column + len("log_interval=10 ")


def test_a_check_names_the_command_line_beside_the_file(toy):
    with pytest.raises(UserError) as caught:
        expand(toy("set: {max_iterations: 100}\n", "log_interval=200"))
    assert [str(place) for place in caught.value.places] == ["command line:1:14", "grid.yaml:3:23"]


def test_several_faults_come_together_each_with_its_place(toy):
    with pytest.raises(UserError) as caught:
        expand(toy("set: {input_size: a, log_interval: b}\n"))
    assert str(caught.value).splitlines() == [
        'grid.yaml:3:19: input_size is "a"; it should be a valid integer',
        'grid.yaml:3:36: log_interval is "b"; it should be a valid integer',
    ]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("command: run ${alpa}\naxes: {alpha: [1, 2]}\n", "Did you mean 'alpha'"),
        ("command: run ${run.dri}\n", "Did you mean 'run.dir'"),
        ("command: run ${alpha\n", "not closed"),
        ("command: run ${alpha}\naxes: {m: {A: {alpha: 1}, B: {beta: 2}}}\n", "bundle 'B' of 'm' does not set it"),
        ("command: run\nset: {a-b: 1}\n", "letters, digits and underscores"),
        ("command: run\nset: {command: 1}\n", "template"),
        ("command: 3\n", "string"),
    ],
)
def test_a_bad_command_is_refused(body, part, toy):
    with pytest.raises(UserError) as caught:
        toy(body, head="study: s\n")
    assert part in caught.value.message
    assert caught.value.places


def test_a_command_refuses_an_override_of_nothing(toy):
    with pytest.raises(UserError, match="Did you mean 'alpha'"):
        toy("command: run ${alpha}\nset: {alpha: 1}\n", "alhpa=3", head="study: s\n")


def test_an_experiment_that_changes_values_is_refused(toy):
    with pytest.raises(UserError, match="never change them"):
        expand(toy("axes: {seed: 0..3}\n", head="study: s\nexperiment: toy_experiment:CHANGING\n"))


def test_files_that_cannot_be_read_are_sentences(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"study: \xe9")
    with pytest.raises(UserError, match="not UTF-8"):
        load(tmp_path / "latin.yaml")
