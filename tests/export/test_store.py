from pathlib import Path

import numpy as np
import pytest

from export import store
from export.checksums import crc
from export.decoded import Decoded
from export.store import Extent, GoneError, Store, new_segment


def decoded(step: list[int], tag: list[int], value: list[float], *, single: bool) -> Decoded:
    none = np.zeros(0, np.int64)
    wall = np.arange(len(step)) + 1.5e9
    return Decoded(np.array(tag, np.int32), np.array(step, np.int64), wall, np.array(value), single, none, none, [], [])


BLOCKS = [
    decoded([-(2**15), 1, 2**15 - 1], [0, 255, 7], [0.5, np.inf, -1.0], single=True),
    decoded([-(2**31), 2**31 - 1], [256, 65_535], [1e300, 0.1], single=False),
    decoded([2**31, -(2**63), 2**63 - 1], [65_536, 0, 2**31 - 1], [1.0, 2.0, 3.0], single=True),
    decoded([-(2**31) - 1], [1], [0.25], single=True),
    decoded([2**15], [1], [0.25], single=True),
]
"""Steps, tags and values on both sides of what fewer bytes hold."""


def test_rows_come_back_as_they_were_however_few_bytes_hold_them(tmp_path: Path) -> None:
    with new_segment(tmp_path) as writer:
        for block in BLOCKS:
            writer.append(block)
    sizes = [block[3:6] for block in writer.blocks]
    assert sizes == [[2, 1, 4], [4, 2, 8], [8, 4, 4], [8, 1, 4], [4, 1, 4]]
    everything = Store(tmp_path, {writer.name: writer.blocks}).rows([Extent(writer.name, 0, 10)])
    assert everything.step.tolist() == [step for block in BLOCKS for step in block.step.tolist()]
    assert everything.tag.tolist() == [tag for block in BLOCKS for tag in block.tag.tolist()]
    assert everything.wall.tolist() == [wall for block in BLOCKS for wall in block.wall.tolist()]
    assert everything.value.tolist() == [value for block in BLOCKS for value in block.value.tolist()]
    part = Store(tmp_path, {writer.name: writer.blocks}).rows(
        [Extent(writer.name, 7, 9), Extent(writer.name, 1, 4), Extent(writer.name, 4, 6)]
    )
    assert part.step.tolist() == everything.step[[7, 8, 1, 2, 3, 4, 5]].tolist()


def test_a_segment_that_changed_or_is_cut_is_noticed(tmp_path: Path) -> None:
    with new_segment(tmp_path) as writer:
        writer.append(BLOCKS[0])
    path = tmp_path / writer.name
    data = path.read_bytes()
    for damaged in (data[:-1], data[:5] + bytes([data[5] ^ 1]) + data[6:]):
        path.write_bytes(damaged)
        with pytest.raises(GoneError):
            Store(tmp_path, {writer.name: writer.blocks}).rows([Extent(writer.name, 0, 3)])


def test_files_that_grew_have_each_block_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows are in several segments, in turn."""
    segments = {}
    for _ in range(3):
        with new_segment(tmp_path) as writer:
            for block in BLOCKS:
                writer.append(block)
        segments[writer.name] = writer.blocks
    checked = []
    monkeypatch.setattr(store, "crc", lambda data: checked.append(len(data)) or crc(data))
    extents = [Extent(segment, row, row + 1) for row in range(10) for segment in segments]
    rows = Store(tmp_path, segments).rows(extents)
    assert rows.step.tolist() == [step for block in BLOCKS for step in block.step.tolist() for _ in segments]
    assert len(checked) == len(segments) * len(BLOCKS)
