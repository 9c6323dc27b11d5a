"""Pictures of thoughts, decoded again."""

import struct
import zlib

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from experiments.thinking import computation, frames
from experiments.thinking.data import SOURCES
from experiments.thinking.decoding import predict
from experiments.thinking.nets import build
from experiments.thinking.params import Thinking


def decoded(path):
    data, parts, at = path.read_bytes(), {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        parts[kind] = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + parts[kind])
        at += size + 12
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return lines[:: frames.SCALE, 1 :: frames.SCALE]


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"model": "dt_net_recall_1d"}, 12),
        ({"model": "ff_net", "max_iters": 3}, 12),
        ({"problem": "mazes", "model": "dt_net_recall_2d", "recall_relu": True}, 5),
        ({"problem": "chess", "model": "dt_net_2d", "chess_orientation": "literal"}, 20),
    ],
)
def test_each_iteration_has_a_picture_of_its_readout_beside_the_solution(tmp_path, monkeypatch, given, size):
    monkeypatch.setenv("ORCH_DATA_CACHE", str(tmp_path / "cache"))
    p = Thinking(**{"width": 8, **given})
    torch.manual_seed(0)
    net = build(p)
    computation.save(
        tmp_path / "net.pth", {"net": computation.weights(net), "epoch": 0, "made_as": computation.made_as(p)}
    )
    words = [
        str(tmp_path / "net.pth"),
        str(tmp_path / "out"),
        "--size",
        str(size),
        "--iterations",
        "3",
        "--sample",
        "2",
    ]
    done = CliRunner().invoke(frames.main, words)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["001.png", "002.png", "003.png"]

    source = SOURCES[p.problem]
    more = {"train_data": 1, "test_data": size + 2, "test_samples": 1} if p.problem == "chess" else {"test_samples": 3}
    split = source.hard(p.model_copy(update={"test_data": size, **more}))
    x, mask = split.inputs[-1:], source.mask(split.inputs[-1:]) if source.mask else None
    for k in (1, 3):
        readout = net.eval()(source.encode(x), k)[:, -1]
        image = decoded(tmp_path / "out" / f"00{k}.png")
        width = split.targets.shape[-1]
        assert (image[:, :width] == 255 * np.atleast_2d(predict(p.problem, readout, mask)[0].numpy())).all()
        assert (image[:, -width:] == 255 * np.atleast_2d(split.targets[-1].numpy())).all()
        assert (image[:, width:-width] == frames.GREY).all()


def test_what_has_no_picture_is_told(tmp_path):
    p = Thinking(width=8, model="ff_net", max_iters=3)
    net = {"net": computation.weights(build(p))}
    computation.save(tmp_path / "unknown.pth", net)
    computation.save(tmp_path / "known.pth", net | {"made_as": computation.made_as(p)})

    def said(name, *words):
        done = CliRunner().invoke(frames.main, [str(tmp_path / name), str(tmp_path / "out"), "--size", "9", *words])
        assert done.exit_code == 1
        return done.output

    assert "there is no checkpoint" in said("nowhere.pth")
    assert "does not say which net it holds" in said("unknown.pth")
    assert "it cannot think any longer" in said("known.pth", "--iterations", "4")
