"""A line that is being typed, key by key."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from syncws.console.line_editor import END, SUSPEND, LineEditor, cells

LEFT, RIGHT, UP, DOWN, HOME = "\x1b[D", "\x1b[C", "\x1b[A", "\x1b[B", "\x01"


def edited(keys: str, history: tuple[str, ...] = ()) -> str:
    """The line after the keys, with ``|`` for the cursor."""
    editor = LineEditor(list(history))
    assert editor.feed(keys) == []
    text, before = editor.row(80)
    return f"{text[:before]}|{text[before:]}"


@pytest.mark.parametrize(
    "keys, line",
    [
        ("", "|"),
        ("abc", "abc|"),
        (f"abc{LEFT}{LEFT}X", "aX|bc"),
        (f"abc{4 * LEFT}{RIGHT}X", "aX|bc"),
        (f"abc{RIGHT}X", "abcX|"),
        ("abc\x02\x02\x06X", "abX|c"),
        ("abc\x01X\x05Y", "XabcY|"),
        ("abc\x1b[HX\x1b[FY", "XabcY|"),
        ("abc\x1bOHX\x1bOFY", "XabcY|"),
        ("abc\x1b[1~X\x1b[4~Y", "XabcY|"),
        ("one two-three\x1bbX", "one two-X|three"),
        ("one two-three\x1bb\x1bb\x1bb\x1bbX", "X|one two-three"),
        (f"one two-{HOME}\x1bf\x1bfX", "one twoX|-"),
        (f"one two-{HOME}\x1bf\x1bf\x1bfX", "one two-X|"),
        ("one two\x1b[1;5DX\x1b[1;5CY", "one XtwoY|"),
        ("abc\x7f\x08", "a|"),
        ("\x7fabc", "abc|"),
        (f"abc{HOME}\x7f", "|abc"),
        (f"abc{HOME}\x04\x1b[3~", "|c"),
        ("abc\x04\x1b[3~", "abc|"),
        (f"abc{LEFT}\x15", "|c"),
        (f"abc{LEFT}\x0b", "ab|"),
        (f"abc{LEFT}\x15\x19\x19", "abab|c"),
        ("one two three\x17\x17\x19", "one two |"),
        ("one two\x1b\x7f", "one |"),
        (f"one two{HOME}\x1bd", "| two"),
        (f"one{HOME}\x15\x19", "|one"),
        (f"abc\x1b{LEFT}X", "abX|c"),
        ("a\x1b[\x7fb\x1b[12;é\x1b[ 1\x1bOé\x1bé", "bé1é|"),
        ("abc\x1b[\x1b[1\x1b[DX", "abX|c"),
        ("abc\x1b\x01X\x1b\x08", "|abc"),
        ("a\tb\x00\x07\x1b[99;99Z\x1bq\x1bOP", r"a\tb|"),
        ("\x1b[200~one\r\ntwo\tthree\x04\x1b[A\x01\x1b[201~!", r"one\n\ntwo\tthree!|"),
    ],
)
def test_keys(keys: str, line: str) -> None:
    assert edited(keys) == line


@pytest.mark.parametrize("end", ["\r", "\n"])
def test_finished_lines(end: str) -> None:
    editor = LineEditor([])
    assert editor.feed(f"one{end}two{LEFT}{end}{end}thr") == [("line", "one"), ("line", "two"), ("line", "")]
    assert editor.text == "thr"


@given(st.text(st.sampled_from("\x1b\x1b\x1b[O019;? /~aHDé\x7f\x08\x01\x19")), st.booleans())
@example("\x1b", False)
@example("\x1b[", False)
@example("\x1b[1 ", False)
@example("\x1bO", False)
def test_enter_always_finishes_a_line(keys: str, key_by_key: bool) -> None:
    editor = LineEditor([])
    for piece in keys if key_by_key else [keys]:
        assert editor.feed(piece) == []
    assert [kind for kind, _ in editor.feed("\r")] == ["line"]
    assert editor.feed("hello\r\x04") == [("line", "hello"), (END, "")]


def test_paste_ends_after_half_an_escape_sequence() -> None:
    editor = LineEditor([])
    assert editor.feed("\x1b[200~one\x1b[\x1b[201~\r") == [("line", "one")]
    assert editor.feed("\x1b[200~two\x1b\x1b[201~\r") == [("line", "two")]


@pytest.mark.parametrize("begin, end", [("\x1b[200~", "\x1b[201~"), ("", "")], ids=["pasted", "typed"])
def test_many_characters_are_inserted_at_once(begin: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insertions = []
    insert = LineEditor._insert

    def counted(editor: LineEditor, text: str) -> None:
        insertions.append(len(text))
        insert(editor, text)

    monkeypatch.setattr(LineEditor, "_insert", counted)
    editor = LineEditor([])
    editor.feed(begin)
    for _ in range(100):
        editor.feed(4096 * "x")
    editor.feed(f"{end}\u202e{LEFT}é")  # what cannot be shown is left out, as it is of a single key
    assert editor.text == 409_599 * "x" + "éx"
    assert len(insertions) == 102


def test_only_what_is_shown_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def counted(char: str) -> int:
        measured.append(char)
        return cells(char)

    monkeypatch.setattr("syncws.console.line_editor.cells", counted)
    editor = LineEditor([])
    editor.feed(100_000 * "x" + 100 * LEFT)
    assert editor.row(80) == (79 * "x", 79)
    assert len(measured) <= 2 * 80


def test_control_d_and_control_z() -> None:
    editor = LineEditor([])
    assert editor.feed("a\x04\x1a\x7f\x04") == [(SUSPEND, ""), (END, "")]


def test_what_is_pasted_ends_no_line() -> None:
    editor = LineEditor([])
    assert editor.feed("\x1b[200~one\ntwo\r\x1b[201~\r") == [("line", "one\ntwo\n")]


def test_history() -> None:
    history = ("one", "two")
    assert edited(f"x{UP}", history) == "two|"
    assert edited(f"x{3 * UP}", history) == "one|"
    assert edited(f"x{2 * UP}{DOWN}", history) == "two|"
    assert edited(f"x{2 * UP}{2 * DOWN}", history) == "x|"
    assert edited(f"x{DOWN}", history) == "x|"
    assert edited("x\x10\x10\x0e", history) == "two|"
    assert edited("x\x1bOA\x1bOA\x1bOB", history) == "two|"


def test_history_begins_anew_with_each_line() -> None:
    lines = ["one", "two"]
    editor = LineEditor(lines)
    assert editor.feed(f"{2 * UP}!\r") == [("line", "one!")]
    lines.append("one!")
    editor.feed(UP)
    assert editor.text == "one!"


@given(st.data())
def test_keys_may_come_in_pieces(data: st.DataObject) -> None:
    keys = f"one{LEFT}\x1bbtwo\x1bOF{UP}\x1b[1;5D\r\x1b[200~a\rb\x1b[201~c"
    editor = LineEditor(["history"])
    outcomes = []
    while keys:
        size = data.draw(st.integers(1, len(keys)))
        outcomes += editor.feed(keys[:size])
        keys = keys[size:]
    assert outcomes == [("line", "history")]
    assert editor.row(80) == (r"a\nbc", 5)


@pytest.mark.parametrize(
    "text, left, row",
    [
        ("0123456789", 0, ("123456789", 9)),
        ("0123456789", 1, ("012345678", 9)),
        ("0123456789", 10, ("012345678", 0)),
        ("012345678", 0, ("012345678", 9)),
        ("日本語日本語", 0, ("語日本語", 8)),
        ("日本語日本語", 6, ("日本語日", 0)),
        ("ab\x1b[200~\n\x1b[201~cdefgh", 0, (r"b\ncdefgh", 9)),
        ("e\u0301e\u0301", 0, ("e\u0301e\u0301", 2)),
    ],
)
def test_row_of_ten_cells(text: str, left: int, row: tuple[str, int]) -> None:
    editor = LineEditor([])
    editor.feed(text + left * LEFT)
    assert editor.row(10) == row


def test_cells() -> None:
    assert [cells(char) for char in "aé日🙂\u0301\u20dd"] == [1, 1, 2, 2, 0, 0]
