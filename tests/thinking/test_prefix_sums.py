"""Prefix sums: the running parity, no string twice where none was published twice, the same strings every time."""

import numpy as np
import pytest
import torch

from experiments.thinking import data
from experiments.thinking.data import prefix_sums
from experiments.thinking.params import Thinking
from orchestrator.errors import UserError


def make(**settings):
    return data.load(
        Thinking(**{"train_data": 16, "test_data": 24, "train_samples": 100, "test_samples": 30} | settings)
    )


@pytest.mark.parametrize("length", [2, 8, 23, 24, 63, 64, 65, 512])
def test_each_sum_is_the_one_before_or_its_opposite(length):
    bits = prefix_sums.strings(length, 200)
    sums = prefix_sums.sums(bits)
    assert bits.shape == sums.shape == (200, length)
    assert set(np.unique(bits)) == {0, 1}
    assert (sums[:, 0] == bits[:, 0]).all()
    assert (sums[:, 1:] == sums[:, :-1] ^ bits[:, 1:]).all()


def test_53_lengths_were_published():
    assert len(prefix_sums.LENGTHS) == 53
    assert prefix_sums.SAMPLES == 10_000


@pytest.mark.parametrize(("length", "dedupe"), [(14, None), (16, None), (23, None), (24, True), (30, True)])
def test_no_string_comes_twice(length, dedupe):
    bits = prefix_sums.strings(length, 10_000, dedupe=dedupe)
    assert len(np.unique(bits, axis=0)) == 10_000


def test_repeats_are_kept_from_24_bits_on_as_published_and_dropped_on_request():
    kept, dropped = (prefix_sums.strings(24, 40_000, dedupe=dedupe) for dedupe in (None, True))
    _, places = np.unique(kept, axis=0, return_index=True)
    assert len(places) < 40_000  # 48 pairs are expected
    assert (kept[np.sort(places)] == dropped[: len(places)]).all()


def test_all_strings_come_once_where_as_many_are_asked_for_and_repeat_where_more_are():
    assert len(np.unique(prefix_sums.strings(8, 256), axis=0)) == 256
    more = prefix_sums.strings(8, 10_000)
    assert len(more) == 10_000
    assert len(np.unique(more, axis=0)) == 256


@pytest.mark.parametrize("length", [12, 20, 32, 100])
def test_strings_are_a_function_of_length_seed_and_place(length):
    bits = prefix_sums.strings(length, 200, seed=3)
    assert (prefix_sums.strings(length, 50, seed=3) == bits[:50]).all()
    assert (prefix_sums.strings(length, 200, seed=4) != bits).any()


@pytest.mark.parametrize(("length", "reach"), [(16, 9), (32, 24)])
def test_outputs_that_miss_the_first_bits_can_agree_and_be_right_every_second_time(length, reach):
    """More than 2^−(missing bits): what is out of reach bounds a net by a half, not by that (docs: how far it sees)."""
    bits = prefix_sums.strings(length, 10_000, seed=1)
    near = np.arange(length) <= reach  # these outputs see all they need; the others see the end of the string
    assert (length - 1 - np.flatnonzero(~near) <= reach).all()
    back = bits[:, ::-1].cumsum(axis=1)[:, ::-1] - bits  # of the bits after a place
    guessed = np.where(near, bits.cumsum(axis=1), back) % 2
    solved = (guessed == prefix_sums.sums(bits)).all(axis=1).mean()
    assert abs(solved - 0.5) < 0.03
    assert solved > 10 * 2.0 ** -(length - 1 - reach)


def test_bits_are_fair():
    bits = prefix_sums.strings(64, 10_000)
    deviations = (bits.mean(axis=0) - 0.5) / (0.5 / np.sqrt(10_000))
    assert abs(deviations).max() < 4.5
    assert abs(np.corrcoef(bits.T)[np.triu_indices(64, 1)]).max() < 0.05


def test_the_strings_are_those_of_version_1():
    """Change the generator, and its version must be raised: results would differ."""
    assert prefix_sums.VERSION == 1
    assert prefix_sums.strings(12, 3, seed=7).tolist() == [
        [1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1],
        [1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1],
    ]
    assert ["".join(map(str, row)) for row in prefix_sums.strings(32, 2, seed=7).tolist()] == [
        "11111100011100101001100010011111",
        "11100111100001100101101001011100",
    ]


def test_the_problem_as_networks_see_it():
    problem = make()
    assert problem.train.inputs.shape == (80, 1, 16)
    assert problem.val.inputs.shape == (20, 1, 16)
    assert problem.test.inputs.shape == (30, 1, 24)
    assert problem.test.targets.shape == (30, 24)
    assert problem.train.inputs.dtype == problem.train.targets.dtype == torch.uint8
    assert problem.mask is None
    seen = problem.encode(problem.train.inputs)
    assert seen.dtype == torch.float32
    assert seen.unique().tolist() == [-0.5, 0.5]


def test_the_pool_is_divided_as_random_split_does():
    problem, whole = make(), prefix_sums.strings(16, 100)
    generator = torch.Generator().manual_seed(42)
    train, val = torch.utils.data.random_split(range(100), [80, 20], generator=generator)
    assert (problem.train.inputs[:, 0].numpy() == whole[list(train)]).all()
    assert (problem.val.inputs[:, 0].numpy() == whole[list(val)]).all()


def test_caps_of_batches_cut_validation_and_test():
    problem = make(val_batches=1, test_batches=2, test_batch_size=7)
    assert (len(problem.train.targets), len(problem.val.targets), len(problem.test.targets)) == (80, 7, 14)
    assert (problem.test.inputs == make().test.inputs[:14]).all()


def test_published_files_are_read_where_a_folder_is_given(tmp_path):
    folder = tmp_path / "prefix_sums_data"
    folder.mkdir()
    for length in (16, 24):
        bits = prefix_sums.strings(length, 50, seed=9)
        torch.save(torch.from_numpy(bits).float(), folder / f"{length}_data.pth")
        torch.save(torch.from_numpy(prefix_sums.sums(bits)).float(), folder / f"{length}_targets.pth")
    problem = make(data=str(tmp_path), train_samples=None, test_samples=20)
    assert (len(problem.train.targets), len(problem.val.targets), len(problem.test.targets)) == (40, 10, 20)
    assert (problem.test.inputs[:, 0].numpy() == prefix_sums.strings(24, 20, seed=9)).all()
    with pytest.raises(UserError, match=r"test_samples is 51, and the published files have 50"):
        make(data=str(tmp_path), train_samples=None, test_samples=51)


def save(folder, data, targets):
    (folder / "prefix_sums_data").mkdir(exist_ok=True)
    torch.save(data, folder / "prefix_sums_data" / "16_data.pth")
    torch.save(targets, folder / "prefix_sums_data" / "16_targets.pth")


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (torch.zeros(5, 15), r"the shape \(5, 15\), not \(-1, 16\)"),
        (torch.full((5, 16), 0.5), "not zeros and ones"),
        (torch.full((5, 16), 2.0), "not zeros and ones"),
        (torch.zeros(0, 16), "the shape"),
        ({"a": 1}, "holds a dict, not a tensor"),
        (Evil(), "is no file of tensors"),
    ],
)
def test_published_files_that_are_something_else_are_refused(tmp_path, capsys, data, says):
    save(tmp_path, data, torch.zeros(5, 16))
    with pytest.raises(UserError, match=says):
        make(data=str(tmp_path), train_samples=None)
    assert not capsys.readouterr().out


def test_absent_and_cut_short_files_are_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*16_data\.pth: data names a folder"):
        make(data=str(tmp_path))
    save(tmp_path, torch.zeros(5, 16), torch.zeros(5, 16))
    path = tmp_path / "prefix_sums_data" / "16_data.pth"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="is no file of tensors"):
        make(data=str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"train_data": 1}, "2 or more, not 1"), ({"train_samples": 1}, "leaves no samples")],
)
def test_impossible_settings_are_told(settings, says):
    with pytest.raises(UserError, match=says):
        make(**settings)
