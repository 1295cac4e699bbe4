"""Bytes to lines, wherever they are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.logs.lines import CONTINUED, LINE_BYTES, PIECE_BYTES, LineCutter, clean


def cut(*chunks: bytes, end: bool = True) -> list[str]:
    cutter = LineCutter()
    found: list[str] = []
    for chunk in chunks:
        found += cutter.feed(chunk)
    return found + (cutter.end() if end else [])


def test_lines_end_at_newlines_and_the_last_one_at_the_end() -> None:
    assert cut(b"a\nb\n\nc") == ["a", "b", "", "c"]
    assert cut(b"a\nb", end=False) == ["a"]
    assert cut(b"") == []
    assert cut(b"\n") == [""]


def test_a_character_cut_by_a_chunk_is_whole_again() -> None:
    data = "grün 🙂 ok\n".encode()
    for at in range(len(data)):
        assert cut(data[:at], data[at:]) == ["grün 🙂 ok"]


def test_what_is_no_text_is_replaced_and_never_raises() -> None:
    assert cut(b"\xff\xfe ok\n") == ["\ufffd\ufffd ok"]
    assert cut(b"a\x00b\n") == ["a\x00b"]


def test_carriage_returns_leave_what_a_terminal_would_show() -> None:
    assert cut(b"one\r\ntwo\r\n") == ["one", "two"]
    assert cut(b"10%\r20%\r30%\n") == ["30%"]
    assert cut(b"10%\r", b"20%\r\n") == ["20%"]


def test_only_newlines_divide() -> None:
    assert cut("a\u2028b\x0bc\x85d\n".encode()) == ["a\u2028b\x0bc\x85d"]


def test_a_long_line_becomes_marked_pieces_and_a_giant_one_is_cut() -> None:
    """F10: 100 MB without a newline must not be held, nor stored."""
    found = cut(b"x" * (PIECE_BYTES * 2 + 5) + b"\n", b"next\n")
    assert [len(text) for text in found] == [PIECE_BYTES + len(CONTINUED), PIECE_BYTES + len(CONTINUED), 5, 4]
    cutter = LineCutter()
    stored: list[str] = []
    for _ in range(100):
        stored += cutter.feed(b"y" * 1_000_000)
        assert cutter.holds <= PIECE_BYTES
    stored += cutter.feed(b"\nnext\n")
    assert stored[-1] == "next"
    assert "bytes of this line were cut" in stored[-2]
    assert sum(map(len, stored)) < LINE_BYTES + 2 * PIECE_BYTES
    assert (cutter.taken_bytes, cutter.taken_lines, cutter.taken_open_bytes) == (100_000_006, 2, 0)


def test_pieces_do_not_cut_characters() -> None:
    text = "ü🙂" * 20_000
    found = cut(text.encode() + b"\n")
    assert "".join(part.removesuffix(CONTINUED) for part in found) == text
    assert "\ufffd" not in "".join(found)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_where_the_chunks_are_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    whole = cut(data)
    edges = sorted({0, len(data), *(at for at in cuts if at <= len(data))})
    parts = [data[begin:end] for begin, end in pairwise(edges)]
    assert cut(*parts) == whole
    expected = [clean(raw) for raw in data.split(b"\n")]
    if not data.endswith(b"\n") and data.rpartition(b"\n")[2]:
        assert whole == expected
    else:
        assert whole == expected[:-1]


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 12))
def test_going_on_from_the_counters_gives_each_line_once(chunks: list[bytes], stop: int) -> None:
    """The counters name exactly the bytes whose lines were given out."""
    first = LineCutter()
    before: list[str] = []
    for chunk in chunks[:stop]:
        before += first.feed(chunk)
    data = b"".join(chunks)
    second = LineCutter(taken_bytes=first.taken_bytes, taken_lines=first.taken_lines, taken_open_bytes=first.taken_open_bytes)
    after = second.feed(data[first.taken_bytes :]) + second.end()
    assert before + after == cut(data)
    assert second.taken_bytes == len(data)
    assert second.taken_lines == data.count(b"\n")
