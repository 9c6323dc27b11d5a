import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from export.tfrecord import frame, frames, masked_crc

PAYLOADS = st.lists(st.binary(max_size=80), max_size=12)


def payloads(data: bytes) -> list[bytes]:
    found = frames(data)
    return [data[at : at + size] for at, size in zip(found.starts.tolist(), found.lengths.tolist(), strict=True)]


def accounted(data: bytes) -> bool:
    """Whether every byte of a file is in a record, in the damage or in the tail."""
    found = frames(data)
    lost = sum(damage.length for damage in found.damage)
    return int(np.sum(found.lengths + 16)) + lost + found.tail == len(data) == found.end + found.tail


@given(st.binary(max_size=200))
def test_the_checksum_is_tensorboards(data: bytes) -> None:
    assert masked_crc(data) == masked_crc32c(data)


@given(PAYLOADS)
def test_whole_files_give_back_their_records(records: list[bytes]) -> None:
    data = b"".join(map(frame, records))
    found = frames(data)
    assert payloads(data) == records
    assert not found.damage
    assert (found.end, found.tail) == (len(data), 0)


@given(PAYLOADS, st.data())
def test_a_file_cut_anywhere_has_a_tail_and_no_damage(records: list[bytes], draw: st.DataObject) -> None:
    whole = b"".join(map(frame, records))
    data = whole[: draw.draw(st.integers(0, len(whole)))]
    ends = np.cumsum([0, *(len(frame(record)) for record in records)])
    kept = int(np.searchsorted(ends, len(data), side="right")) - 1
    found = frames(data)
    assert payloads(data) == records[:kept]
    assert not found.damage
    assert found.tail == len(data) - ends[kept]


@given(PAYLOADS.filter(bool), st.data())
def test_one_flipped_bit_costs_one_record(records: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(b"".join(map(frame, records)))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    ends = np.cumsum([len(frame(record)) for record in records])
    hit = int(np.searchsorted(ends, at, side="right"))
    found = frames(bytes(data))
    assert payloads(bytes(data)) == records[:hit] + records[hit + 1 :]
    assert accounted(bytes(data))
    (damage,) = found.damage
    assert damage.offset == (ends[hit - 1] if hit else 0)
    assert damage.length == len(frame(records[hit]))


@given(PAYLOADS, st.binary(max_size=300), PAYLOADS)
def test_records_on_both_sides_of_rubbish_are_found(before: list[bytes], rubbish: bytes, after: list[bytes]) -> None:
    head, tail = b"".join(map(frame, before)), b"".join(map(frame, after))
    data = head + rubbish + tail
    found = payloads(data)
    assert found[: len(before)] == before
    if after:
        assert found[-len(after) :] == after
    assert accounted(data)


def test_a_page_of_zeros_costs_the_records_it_touches() -> None:
    records = [b"%06d" % i * 10 for i in range(1000)]
    data = bytearray(b"".join(map(frame, records)))
    size = len(frame(records[0]))
    data[8192 : 8192 + 4096] = bytes(4096)
    first, last = 8192 // size, (8192 + 4096 - 1) // size
    assert payloads(bytes(data)) == records[:first] + records[last + 1 :]
    (damage,) = frames(bytes(data)).damage
    assert damage[:2] == (first * size, (last + 1 - first) * size)


def test_zeros_at_the_end_are_not_written_yet() -> None:
    data = frame(b"one") + frame(b"two")
    found = frames(data + bytes(4096))
    assert (len(found.starts), found.damage, found.end, found.tail) == (2, [], len(data), 4096)


def test_an_append_after_a_torn_write_is_found() -> None:
    torn = frame(b"x" * 500)[:100]
    data = frame(b"one") + torn + frame(b"two") + frame(b"three")
    found = frames(data)
    assert payloads(data) == [b"one", b"two", b"three"]
    (damage,) = found.damage
    assert damage[:2] == (len(frame(b"one")), len(torn))


def test_damage_before_an_unfinished_end() -> None:
    data = bytearray(frame(b"one") + frame(b"two") + frame(b"three")[:-1])
    data[len(frame(b"one")) + 13] ^= 1
    found = frames(bytes(data))
    assert payloads(bytes(data)) == [b"one"]
    assert [damage[:2] for damage in found.damage] == [(len(frame(b"one")), len(frame(b"two")))]
    assert found.tail == len(frame(b"three")) - 1


def test_a_torn_write_whose_length_ends_inside_later_records() -> None:
    data = frame(b"x" * 60)[:20] + b"".join(frame(b"%d" % i) for i in range(50))
    assert payloads(data) == [b"%d" % i for i in range(50)]


@pytest.mark.parametrize("length", [0, 1, 11, 12, 15])
def test_files_shorter_than_a_record(length: int) -> None:
    found = frames(b"\x01" * length)
    assert len(found.starts) == 0
    assert accounted(b"\x01" * length)


def test_much_rubbish_is_searched_in_blocks() -> None:
    rubbish = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    assert payloads(rubbish + frame(b"found")) == [b"found"]
