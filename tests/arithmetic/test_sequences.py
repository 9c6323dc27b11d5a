"""Tasks over sequences: data against brute force, cells against a plain loop, and short training that resumes."""

import gzip
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import torch
from pydantic import ValidationError

from experiments.arithmetic.sequences import cells, images, mnist, numerals, recurrent, residual, translation
from experiments.arithmetic.sequences.mnist_params import SEQUENTIAL_MNIST, SequentialMnist
from experiments.arithmetic.sequences.recurrent_params import RECURRENT, Recurrent
from experiments.arithmetic.sequences.translation_params import NUMBER_TRANSLATION, NumberTranslation
from orchestrator.errors import UserError
from orchestrator.experiment import find
from tests.arithmetic.plain_compounds import MODULES, ordered


class FakeRun:
    """What a worker hands to a train function, in memory; it stops at the n-th time it is asked."""

    def __init__(self, params, state=None, stop_at=None):
        self.params, self.seed, self.state, self.stop_at = params, params.seed, state, stop_at
        self.rows, self.asked = {}, 0

    def log(self, values, step):
        self.rows.setdefault(step, {}).update(values)

    def checkpoint(self, state):
        self.state = pickle.loads(pickle.dumps(state))

    def restore(self):
        return self.state

    @property
    def should_stop(self):
        self.asked += 1
        return self.asked == self.stop_at


def trained(train, params, **given):
    run = FakeRun(params, **given)
    train(run)
    return run


# --- numbers in words -------------------------------------------------------------------------------------------------


def test_numbers_in_words():
    assert numerals.words(7) == ["seven"]
    assert numerals.words(19) == ["nineteen"]
    assert numerals.words(20) == ["twenty"]
    assert numerals.words(85) == ["eighty", "five"]
    assert numerals.words(100) == ["one", "hundred"]
    assert numerals.words(305) == ["three", "hundred", "and", "five"]
    assert numerals.words(335) == ["three", "hundred", "and", "thirty", "five"]
    assert len({tuple(numerals.tokens(n)) for n in range(1, 1000)}) == 999
    assert max(len(numerals.words(n)) for n in range(1, 1000)) == numerals.LENGTH
    assert len(numerals.WORDS) == 30
    assert (numerals.WORDS[0], numerals.WORDS[1], numerals.WORDS[-1]) == ("<pad>", "and", "hundred")
    for number in (0, 1000):
        with pytest.raises(ValueError, match="not from 1 to 999"):
            numerals.words(number)


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_divided_as_the_original_divides_them(seed):
    parts = numerals.split(seed)
    assert [len(part) for part in parts] == [169, 200, 630]
    assert set(np.concatenate(parts).tolist()) == set(range(1, 1000))
    assert set(range(1, 20)) <= set(parts.train.tolist())
    assert {word for n in parts.train.tolist() for word in numerals.words(n)} == set(numerals.WORDS[1:])
    first = (np.random.RandomState(seed).permutation(980) + 20)[0]
    assert first in parts.train  # it shows words that are new


@pytest.mark.parametrize("cell", ["nalu", "nac", "nau", "lstm", "gru"])
def test_number_translation_trains_and_resumes(cell):
    p = NumberTranslation(cell=cell, epochs=6, evaluate_every=2, learning_rate=1e-2)
    whole = trained(translation.train, p)
    assert sorted(whole.rows) == [0, 6, 12]
    assert {"metric/train/mse", "metric/valid/mse", "metric/test/acc", "loss/train/total"} <= set(whole.rows[0])
    stopped = trained(translation.train, p, stop_at=2)
    assert sorted(stopped.rows) == [0]
    resumed = trained(translation.train, p, state=stopped.state)
    assert {**stopped.rows, **resumed.rows} == whole.rows


def test_padding_leaves_the_last_output():
    p = NumberTranslation(cell="nac")
    torch.manual_seed(0)
    network = translation.Network(p)
    short, padded = torch.tensor([[4, 5]]), torch.tensor([[4, 5, 0, 0, 0]])
    torch.testing.assert_close(network(short), network(padded))


# --- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["nac", "nac-mul", "nac-sigma", "nac-nmu", "nalu", "nau", "nmu", "npu", "nmru"])
def test_a_cell_is_its_module_over_input_and_state(layer):
    p = SequentialMnist()
    cell = cells.Cell(layer, 2, 3, p).double()
    plain = MODULES[layer](p, 5, 3).double()
    parameters = [cell.unit.weights[part.name.replace(".", "_")] for part in cell.unit.module.parts]
    for own, parameter in zip(ordered(plain), parameters, strict=True):
        own.data = parameter.data.clone()
    x = torch.rand(4, 6, 2, dtype=torch.float64) + 0.5
    state = cell.initial(4, x)
    assert float(state[0, 0]) == (1 if layer in ("nac-mul", "nac-sigma", "nac-nmu", "nmu") else 0)
    expected = state
    for step in range(6):
        state = cell(x[:, step], state)
        expected = plain(torch.cat([x[:, step], expected], dim=1))
    torch.testing.assert_close(state, expected)
    (state**2).sum().backward()
    (expected**2).sum().backward()
    for own, parameter in zip(ordered(plain), parameters, strict=True):
        torch.testing.assert_close(parameter.grad, own.grad, equal_nan=True)


def test_the_regulariser_r_z_sees_the_inputs_of_all_steps_until_the_update():
    p = SequentialMnist(identity={"weight": 2.0}, regulariser={"start": 0, "end": 10})
    cell = cells.Cell("nau", 1, 1, p)
    cell.unit.weights["W"].data = torch.tensor([[0.5, 1.2]])
    cell.train()
    x = torch.tensor([[1.0], [3.0]])
    state = cell(x, torch.zeros(2, 1))
    cell(x, state)
    first = (2.0 + 2.0) / 2  # mean of the inputs over both steps
    second = float(torch.cat([torch.zeros(2, 1), state.detach()]).mean())
    w = torch.tensor([0.5, 1.2])
    expected = 2 * ((1 - w.abs()) * torch.tensor([first, second]) ** 2).mean() + 10 * 0.3 * (0.5 + 0.2) / 2
    assert float(cells.regulariser(cell, p, 0.3).detach()) == pytest.approx(float(expected), rel=1e-6)
    cells.clamp(cell)
    assert cell.unit.seen == []
    assert cell.unit.weights["W"].tolist() == [[0.5, 1.0]]


# --- sequential MNIST -------------------------------------------------------------------------------------------------


def write_idx(path, array, packed):
    header = b"\0\0\x08" + bytes([array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    data = header + array.astype(np.uint8).tobytes()
    (path.with_name(path.name + ".gz") if packed else path).write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_read_from_its_published_files(tmp_path, monkeypatch, packed):
    train, test = images.stand_in(24, 5), images.stand_in(10, 6)
    for digits, names in ((train, images.FILES["train"]), (test, images.FILES["test"])):
        for array, name in zip(digits, names, strict=True):
            write_idx(tmp_path / name, array, packed)
    monkeypatch.setenv(images.VARIABLE, str(tmp_path))
    found = images.load("mnist")
    assert (len(found.train.labels), len(found.valid.labels), len(found.test.labels)) == (22, 2, 10)
    np.testing.assert_array_equal(found.train.images, train.images[:22])
    np.testing.assert_array_equal(found.valid.labels, train.labels[22:])
    normal = found.test.normalised()
    np.testing.assert_allclose(normal[:, 0], (test.images / 255 - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)


def test_absent_and_damaged_files_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv(images.VARIABLE, raising=False)
    with pytest.raises(UserError, match="set the environment variable ORCH_MNIST to the folder that has train-images"):
        images.load("mnist")
    monkeypatch.setenv(images.VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="there is no train-images-idx3-ubyte in"):
        images.load("mnist")
    path = tmp_path / "x"
    for data, says in (
        (b"\x89PNG", "no IDX file of bytes"),
        (b"\0\0\x08\1\0\0\0\5ab", "promises 5 bytes and has 2"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=says):
            images.read_idx(path)
    (tmp_path / "y.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be read"):
        images.read_idx(tmp_path / "y.gz")


def write_svhn(folder, counts=(24, 12)):
    """Write files like those of SVHN, and return their images (n, 32, 32, 3) and digits."""
    rng, made = np.random.default_rng(0), []
    for name, count in zip(images.SVHN_FILES.values(), counts, strict=True):
        x, digits = rng.integers(0, 256, size=(count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 10
        y = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
        scipy.io.savemat(folder / name, {"X": x.transpose(1, 2, 3, 0), "y": y})
        made.append((x, digits))
    return made


def test_svhn_is_read_from_its_published_files_and_a_residual_network_learns_from_it(tmp_path, monkeypatch):
    (x, digits), _ = write_svhn(tmp_path)
    monkeypatch.setenv(images.SVHN_VARIABLE, str(tmp_path))
    found = images.load("svhn")
    assert [len(part.labels) for part in found] == [22, 2, 12]
    assert found.train.labels.tolist() == digits[:22].tolist()
    np.testing.assert_allclose(found.train.normalised()[3, 2], x[3, :, :, 2] / 255, rtol=1e-6)
    p = small(images="svhn", operation="product", cell="nmu", epochs=0, test_lengths=[1], log_interval=1)
    rows = trained(mnist.train, p).rows
    assert np.isfinite(list(rows[1].values())).all()
    assert "metric/test/extrapolation/1/mse" in rows[1]


def test_the_residual_network_is_the_one_of_18_layers():
    network = residual.Residual(1)
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 17 + 3  # and one linear layer; three short cuts change the width
    assert sum(p.numel() for p in network.parameters()) == 11_176_512 + 512 + 1
    assert network.eval().blocks(torch.zeros(1, 64, 8, 8)).shape == (1, 512, 1, 1)


def test_absent_and_damaged_files_of_svhn_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv(images.SVHN_VARIABLE, raising=False)
    with pytest.raises(UserError, match="set the environment variable ORCH_SVHN to the folder that has train_32"):
        images.load("svhn")
    monkeypatch.setenv(images.SVHN_VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match="there is no train_32x32.mat in"):
        images.load("svhn")
    path = tmp_path / "train_32x32.mat"
    digits = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 2), np.uint8)
    scipy.io.savemat(path, {"X": digits, "y": np.ones((2, 1))}, do_compression=True)  # as the published ones are
    whole = path.read_bytes()
    flipped = whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:]
    for data in (b"", b"no matlab file", b"MATLAB 5.0 MAT-file" + bytes(200), whole[:1000], flipped):
        path.write_bytes(data)
        with pytest.raises(UserError, match="train_32x32.mat cannot be read|it is not one of SVHN"):
            images.read_mat(path)
    scipy.io.savemat(path, {"X": np.zeros((32, 32, 3, 2)), "y": np.zeros((3, 1))})
    with pytest.raises(UserError, match="it is not one of SVHN"):
        images.read_mat(path)


def test_sequences_are_cut_from_a_permutation_of_the_digits_asked_for():
    labels = np.random.default_rng(0).integers(0, 10, size=103).astype(np.uint8)
    cut = mnist.sequences(labels, "123456789", 7, seed=3)
    assert 0 not in labels[cut]
    assert len(np.unique(cut)) == cut.size == (labels > 0).sum() // 7 * 7
    order = np.random.RandomState(3).permutation(np.flatnonzero(labels > 0))
    np.testing.assert_array_equal(cut.ravel(), order[: cut.size])


def test_targets_are_running_results():
    labels = np.array([[2, 3, 4], [1, 1, 9]], np.uint8)
    assert mnist.targets(labels, "sum")[..., 0].tolist() == [[2, 5, 9], [1, 2, 11]]
    assert mnist.targets(labels, "product")[..., 0].tolist() == [[2, 6, 24], [1, 1, 9]]
    np.testing.assert_allclose(mnist.targets(labels, "division")[..., 0], [[1 / 2, 1 / 6, 1 / 24], [1, 1, 1 / 9]])
    counts = mnist.targets(labels, "count")
    assert counts.shape == (2, 3, 10)
    assert counts[1, 2].tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("operation", ["sum", "product", "division"])
def test_a_solved_cell_reckons_with_the_true_digits(operation):
    p = SequentialMnist(cell="solved", operation=operation, digits="123456789")
    labels = np.array([[2, 3, 4], [5, 1, 9]], np.uint8)
    read = torch.from_numpy(labels).float()[..., None]
    torch.testing.assert_close(mnist.Network(p).reckon(read), torch.from_numpy(mnist.targets(labels, operation)))


def small(**values):
    fixed = {
        "images": "stand-in", "digits": "123456789", "length": 2, "test_lengths": [1, 3], "epochs": 1,
        "evaluate_every": 1, "log_interval": 3, "batch_size": 128,
    }  # fmt: skip
    return SequentialMnist.model_validate(fixed | values)


@pytest.mark.parametrize(
    "values",
    [
        {"operation": "product", "cell": "nmu", "identity": {}, "regulariser": {"start": 1, "end": 5}},
        {"operation": "sum", "cell": "LSTM", "digits": "0123456789"},
        {"operation": "count", "cell": "nau", "outputs": 10},
    ],
    ids=["product", "sum", "count"],
)
def test_sequential_mnist_trains_and_resumes(values):
    p = small(**values)
    whole = trained(mnist.train, p)
    per_epoch = min(step for step in whole.rows if step > 1 and "epoch" in whole.rows[step]) - 1
    assert {"metric/train/mse", "metric/valid/acc/last", "metric/test/extrapolation/3/mse", "epoch"} <= set(
        whole.rows[1]
    )
    assert "loss/train/critation" in whole.rows[3]
    if values["cell"] != "LSTM":
        assert "network/1/nac/W/sparsity_error" in whole.rows[1]
    stopped = trained(mnist.train, p, stop_at=2)
    assert max(stopped.rows) <= per_epoch
    resumed = trained(mnist.train, p, state=stopped.state)
    assert {**stopped.rows, **resumed.rows} == whole.rows


def test_the_stand_in_can_be_read_and_multiplied():
    """A few epochs of the solved cell halve the error: images and targets belong together."""
    run = trained(mnist.train, small(operation="sum", cell="solved", epochs=8, evaluate_every=8, batch_size=32))
    first, last = (run.rows[step]["metric/valid/mse"] for step in sorted(s for s in run.rows if "epoch" in run.rows[s]))
    assert last < first / 2


# --- recurrent simple function ----------------------------------------------------------------------------------------


def test_recurrent_sums_go_over_steps_and_subsets():
    p = Recurrent(operation="mul", seed=3)
    x, t = recurrent.draw(p, 1, 5, 4, "interpolation")
    from experiments.arithmetic.data import structure, subset_columns

    a, b = subset_columns(p, structure(p).offset)
    rows = x.double().numpy()
    np.testing.assert_allclose(t[:, 0], rows[:, :, a].sum((1, 2)) * rows[:, :, b].sum((1, 2)), rtol=1e-5)
    assert float(x.min()) >= 1
    assert float(x.max()) < 2


@pytest.mark.parametrize("cell", ["nac", "nalu", "gru", "lstm", "nau"])
def test_the_recurrent_task_trains_and_resumes(cell):
    p = Recurrent(cell=cell, max_iterations=12, log_interval=4, batch_size=8, evaluation_size=20, test_length=30)
    whole = trained(recurrent.train, p)
    assert sorted(whole.rows) == [0, 4, 8, 12]
    assert {"metric/valid/interpolation", "metric/test/extrapolation"} <= set(whole.rows[0])
    stopped = trained(recurrent.train, p, stop_at=3)
    resumed = trained(recurrent.train, p, state=stopped.state)
    assert {**stopped.rows, **resumed.rows} == whole.rows


# --- parameters -------------------------------------------------------------------------------------------------------


def test_the_experiments_are_installed():
    for name, experiment in (
        ("arithmetic.sequential_mnist", SEQUENTIAL_MNIST),
        ("arithmetic.number_translation", NUMBER_TRANSLATION),
        ("arithmetic.recurrent", RECURRENT),
    ):
        assert find(name).params is experiment.params
        assert find(name).form == "run"


@pytest.mark.parametrize(
    ("params", "values", "says"),
    [
        (SequentialMnist, {"operation": "product"}, "with 0 among them"),
        (SequentialMnist, {"cell": "solved", "outputs": 2}, "one output and no count"),
        (SequentialMnist, {"cell": "lstm", "identity": {}}, "cell lstm has no R_z"),
        (SequentialMnist, {"cell": "nalu", "regulariser": {}}, "cell nalu has none"),
        (SequentialMnist, {"digits": "abc"}, "pattern"),
        (NumberTranslation, {"cell": "nau", "nau": {"noise": True}}, "cells have no noise"),
        (Recurrent, {"interpolation": [[1, 2], [3, 4]]}, "draws from one interval"),
    ],
)
def test_checks_across_parameters_name_them(params, values, says):
    with pytest.raises(ValidationError) as caught:
        params.model_validate(values)
    assert says in str(caught.value)


def test_a_run_whose_loss_is_not_finite_is_diverged():
    p = NumberTranslation(cell="nac", epochs=400, evaluate_every=400, learning_rate=1e30)
    with pytest.raises(FloatingPointError):
        translation.train(FakeRun(p))


def test_no_torch_is_needed_to_read_parameters():
    names = ["sequences.mnist_params", "sequences.recurrent_params", "sequences.translation_params", "two_layer"]
    code = f"import sys, {', '.join(f'experiments.arithmetic.{n}' for n in names)}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
