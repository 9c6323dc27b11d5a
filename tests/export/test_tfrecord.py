from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from export.checksums import header_crc, mask, masked_crc, unmask
from export.tfrecord import PADDING, Damage, Frames, Piece, frame, whole
from export.tfrecord import frames as find
from tests.export import reference

PAYLOADS = st.lists(st.binary(max_size=80), max_size=12)


class Found:
    """What is found in the bytes of one file, with all checksums checked."""

    def __init__(self, data: bytes, pad: int = 0) -> None:
        buffer = np.frombuffer(bytes(pad) + data + b"\xab" * PADDING, np.uint8)
        found = find(buffer, [Piece(pad, pad + len(data))])
        good = whole(buffer, found.starts, found.lengths)
        spans = list(zip((found.starts - pad).tolist(), found.lengths.tolist(), strict=True))
        self.starts = [start for (start, _), fine in zip(spans, good, strict=True) if fine]
        self.payloads = [data[at : at + size] for (at, size), fine in zip(spans, good, strict=True) if fine]
        bad = [Damage(at - 12, size + 16, "") for (at, size), fine in zip(spans, good, strict=True) if not fine]
        lost = [Damage(damage.offset - pad, damage.length, damage.why) for _, damage in found.damage]
        self.damage = sorted(bad + lost)
        self.end = found.ends[0] - pad
        self.tail = len(data) - self.end


def frames(data: bytes) -> Found:
    return Found(data)


def payloads(data: bytes) -> list[bytes]:
    return Found(data).payloads


def accounted(data: bytes) -> bool:
    """Whether every byte of a file is in a record, in the damage or in the tail."""
    found = Found(data)
    lost = sum(damage.length for damage in found.damage)
    return sum(map(len, found.payloads)) + 16 * len(found.payloads) + lost + found.tail == len(data)


@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=20))
def test_checksums_of_lengths(lengths: list[int]) -> None:
    expected = [masked_crc(length.to_bytes(8, "little")) for length in lengths]
    assert header_crc(np.array(lengths)).tolist() == expected
    values = np.array(lengths, np.uint32)
    assert unmask(mask(values)).tolist() == lengths


DAMAGE = st.tuples(st.sampled_from(["flip", "zeros", "cut", "drop", "insert", "append"]), st.integers(0, 10**6))


def hurt(data: bytes, damages: list[tuple[str, int]]) -> bytes:
    """Damage a file in several places."""
    for kind, seed in damages:
        draw = np.random.default_rng(seed)
        at = int(draw.integers(0, len(data) + 1))
        size = int(draw.integers(1, 60))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << int(draw.integers(0, 8))]) + data[at + 1 :]
        elif kind == "zeros":
            data = data[:at] + bytes(len(data[at : at + size])) + data[at + size :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "drop":
            data = data[:at] + data[at + size :]
        elif kind == "insert":
            data = data[:at] + draw.bytes(size) + data[at:]
        elif kind == "append":
            data += bytes(size)
    return data


@settings(max_examples=400, deadline=None)
@given(PAYLOADS, st.lists(DAMAGE, max_size=4), st.integers(0, 9))
def test_whatever_the_damage_it_finds_what_the_slow_way_finds(
    records: list[bytes], damages: list[tuple[str, int]], pad: int
) -> None:
    data = hurt(b"".join(map(frame, records)), damages)
    found = Found(data, pad)
    expected, lost, end = reference.read(data)
    assert found.payloads == expected
    assert reference.merged(found.damage) == reference.merged(lost)
    assert found.end == end


def test_what_stands_before_the_first_piece_is_not_looked_at() -> None:
    data = frame(b"one") + frame(b"two")
    found = find(np.frombuffer(data + bytes(PADDING), np.uint8), [Piece(len(frame(b"one")), len(data))])
    assert (found.starts.tolist(), found.first.tolist()) == ([len(frame(b"one")) + 12], [0, 1])


@settings(deadline=None)
@given(st.lists(st.tuples(PAYLOADS, st.lists(DAMAGE, max_size=1)), max_size=6))
def test_files_beside_each_other_do_not_mix(files: list[tuple[list[bytes], list[tuple[str, int]]]]) -> None:
    contents = [hurt(b"".join(map(frame, records)), damages) for records, damages in files]
    ends = np.cumsum([0, *map(len, contents)]).tolist()
    buffer = np.frombuffer(b"".join(contents) + bytes(PADDING), np.uint8)
    together: Frames = find(buffer, [Piece(*span) for span in pairwise(ends)])
    for number, data in enumerate(contents):
        alone = find(np.frombuffer(data + bytes(PADDING), np.uint8), [Piece(0, len(data))])
        rows = slice(*together.first[number : number + 2])
        assert (together.starts[rows] - ends[number]).tolist() == alone.starts.tolist()
        assert together.lengths[rows].tolist() == alone.lengths.tolist()
        assert together.ends[number] - ends[number] == alone.ends[0]


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
