"""Laravel's rules, as eggs use them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eggs import rules


def good(rule_text: str, value: str) -> bool:
    return not rules.broken(rules.split(rule_text), value)


@pytest.mark.parametrize(
    ("rule", "passes", "fails"),
    [
        ("required", ["a", " a", "0"], ["", " ", "\t\n"]),
        ("present|filled", ["a"], ["", " "]),
        ("present", ["", "a"], []),
        ("required|string", ["a"], [""]),
        ("nullable|integer|min:5", ["", "5", "77"], ["4", "x", "-9"]),
        ("string|min:5", ["", "abcde"], ["abcd"]),
        ("numeric|between:1,3", ["1", "2.5", "3"], ["0", "3.1", "a"]),
        ("numeric|max:9007199254740992", ["9007199254740992"], ["9007199254740993"]),
        ("integer", ["0", "-5", "+5"], ["1.5", "a", "1e3", "٣", "007", "0x1", "9223372036854775808", "--1"]),
        ("numeric", ["1", "-1.5", ".5", "5.", "1e3", " 7 "], ["1,5", "0x1", "e3", ".", "٣", "1 2"]),
        ("int|max:10", ["10"], ["11"]),
        ("string|max:3", ["äöü", "12"], ["1234"]),
        ("string|size:2", ["ab"], ["a", "abc"]),
        ("integer|gt:0", ["1"], ["0", "-1"]),
        ("boolean", ["0", "1", ""], ["true", "false", "yes", "2", "True", "01"]),
        ("bool", ["1"], ["on"]),
        ("in:a,b c,", ["a", "b c", ""], ["A", "b", "a "]),
        ('in:"x,y",z', ["x,y", "z"], ["x", '"x,y"']),
        ("in: a,b", [" a", "b"], ["a"]),
        ("not_in:a", ["b"], ["a"]),
        ("not_in:a,b ", ["b", "c"], ["b ", "a"]),
        ("digits:4", ["1234"], ["123", "12345", "12a4"]),
        ("digits_between:1,3", ["1", "123"], ["1234", "x", "-1"]),
        ("alpha_dash", ["a-b_9é"], ["a b", "a.b"]),
        ("alpha_num", ["a9", "é٣", "e\u0301"], ["a-9", "a_9"]),
        ("alpha", ["é漢"], ["a9", "a b"]),
        ("alpha_dash:ascii", ["a-b_9"], ["é"]),
        ("string|between:2,3", ["ab", "äöü"], ["a", "abcd"]),
        ("numeric|gte:2|lt:5", ["2", "4.9"], ["1", "5"]),
        ("digits:2,9", ["12"], ["123"]),
        (r"regex:/^([\w\d._-]+)(\.jar)$/", ["server.jar"], ["server.zip", "a b.jar"]),
        (r"regex:(^a|b$)", ["a1", "1b"], ["c"]),
        (r"required|regex:/^(a|b)$/i|max:1", ["A", "b"], ["c", "ab"]),
        ("not_regex:/x/", ["a"], ["x"]),
        (r"regex:/^[\w]+$/", ["abc"], ["é", "a b"]),
        (r"regex:/^[\w]+$/u", ["é", "漢"], ["a b"]),
        (r"regex:/^a$/", ["a", "a\n"], ["a\nb", "ba"]),
        (r"regex:/^a$/D", ["a"], ["a\n"]),
        (r"regex:/\Aa\z/", ["a"], ["a\n"]),
        (r"regex:/\Aa\Z/", ["a", "a\n"], ["a\nb"]),
        (r"regex:/b/A", ["ba"], ["ab"]),
        (r"regex:#^https?://#i", ["HTTP://x"], ["ftp://x"]),
        (r"regex:{^a{2}$}", ["aa"], ["a"]),
        (r"regex:~^\x{e9}$~u", ["é"], ["e"]),
        (r"regex:/^[]a[]+$/", ["][a"], ["b"]),
        (r"regex:/^[[:alpha:]]+$/", ["abc"], ["a1"]),
        (r"regex:/^\S+\h\S+$/", ["a b", "a\tb"], ["a\nb"]),
        ("url", ["https://example.org/a?b", "ftp://x"], ["example.org", "http://", "http://a b", "http://[x", "http://:80", "://x"]),
        ("url:http,https", ["https://user:pw@example.org:8080/a?b#c", "http://[::1]:80/"], ["ftp://x", "javascript://x"]),
        ("email", ["a@b.c"], ["a", "a@", "@b"]),
        ("ip", ["127.0.0.1", "::1"], ["x", "1.2.3"]),
        ("ipv4", ["127.0.0.1"], ["::1"]),
        ("ends_with:.jar,.zip", ["a.zip"], ["a.exe"]),
        ("Nullable|String", ["", "x"], []),
        ("nullable:string", ["", "x"], []),
        ("string|port|alphanum", ["x"], []),
        ("regex:latest-stable", ["anything"], []),
        ("between:1", ["x"], []),
        ("max:abc", ["x"], []),
        ("|string||", ["x", ""], []),
    ],
)
def test_a_rule_passes_and_fails_what_it_should(rule: str, passes: list[str], fails: list[str]) -> None:
    assert [value for value in passes if not good(rule, value)] == []
    assert [value for value in fails if good(rule, value)] == []


@pytest.mark.parametrize("pattern", ["/^(a+)+$/", "/^(a|a)+$/", "/^(a|aa)+$/", "/^(.*a){20}$/", "/(x+x+)+y/", "/^([a-z]+)*[A-Z]$/"])
def test_an_evil_pattern_is_stopped(pattern: str) -> None:
    """C10: at most a fifth of a second, however clever."""
    begun = time.thread_time()  # work, not wall: a busy machine proves nothing
    rules.broken([f"regex:{pattern}"], "a" * 40 + "!")
    rules.broken([f"regex:{pattern}"], "x" * 40)
    assert time.thread_time() - begun < 1.0


@pytest.mark.parametrize(
    "text", ["regex:", "regex:/", "regex://", "regex:/(/", "regex:/a", "in:", "digits:", "between:,", "size:1e999", "max:-", ":", "x" * 5000]
)
def test_a_broken_rule_counts_for_nothing(text: str) -> None:
    rules.broken(rules.split(text), "value")
    rules.broken([text], "value")


def test_a_message_says_what_is_asked_for() -> None:
    assert rules.broken(["integer", "between:1,5"], "9")[0].message == "It must be from 1 to 5."
    assert rules.broken(["required"], "")[0].rule == "required"


# ------------------------------------------------------------------------------------------------------- what holds for all values

words = st.text(max_size=40)
plain_words = st.text(st.characters(exclude_characters='",|\r\n\\', exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_numbers_are_compared_as_numbers(value: int, a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    text = str(value)
    assert good(f"integer|between:{low},{high}", text) is (low <= value <= high)
    assert good(f"integer|min:{low}|max:{high}", text) is (low <= value <= high)
    assert good(f"numeric|gt:{low}|lt:{high}", text) is (low < value < high)
    assert good(f"numeric|size:{low}", text) is (value == low)


@settings(max_examples=300, deadline=None)
@given(words, st.integers(0, 40), st.integers(0, 40))
def test_texts_are_compared_by_their_length(value: str, a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    blank = not value.strip(" \t\n\r\0\x0b")
    assert good(f"string|between:{low},{high}", value) is (blank or low <= len(value) <= high)
    assert good(f"string|min:{low}|max:{high}", value) is good(f"string|between:{low},{high}", value)
    assert good("required", value) is not blank
    assert good("nullable|string", value)


@settings(max_examples=300, deadline=None)
@given(st.lists(plain_words, min_size=1, max_size=6), plain_words)
def test_a_choice_is_exactly_one_of_the_list(choices: list[str], value: str) -> None:
    assert all(good("in:" + ",".join(choices), choice) for choice in choices)
    assert good("in:" + ",".join(choices), value) is (value in choices or not value.strip(" \t\n\r\0\x0b"))
    assert good("not_in:" + ",".join(choices), value) is (value not in choices or not value.strip(" \t\n\r\0\x0b"))
    quoted = ",".join('"' + choice + ',"' for choice in choices)
    assert all(good("in:" + quoted, choice + ",") for choice in choices)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_digits_are_ascii_digits_and_counted(value: str) -> None:
    only = value.isascii() and value.isdigit()
    blank = not value.strip(" \t\n\r\0\x0b")
    assert good(f"digits:{len(value)}", value) is (only or blank)
    assert good("digits_between:1,30", value) is (only or blank)
    assert good("integer", value) or not good("integer|numeric", value)


@settings(max_examples=500, deadline=None)
@given(st.lists(words, max_size=5), words)
def test_no_rule_and_no_value_is_an_error(texts: list[str], value: str) -> None:
    """C10: at most an answer; whatever a stranger writes as a rule."""
    rules.broken(texts, value)
    rules.broken(rules.split("|".join(texts)), value)


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet="ab()[]{}*+?|\\^$.,:-=!<>#/imsuxADU0123wdsSzZhepL", max_size=24), words)
def test_no_pattern_is_an_error_or_takes_long(pattern: str, value: str) -> None:
    """C10."""
    begun = time.thread_time()
    rules.broken([f"regex:/{pattern}/"], value)
    rules.broken(rules.split(f"required|regex:/{pattern}/|max:5"), value)
    assert time.thread_time() - begun < 2.0


def test_a_list_of_rules_survives_being_one_text() -> None:
    for listed in (["required", "string", "max:20"], ["regex:/^(a|b)$/i", "max:3"], ["in:a,b", "nullable"], ["not_regex:/|/", "required"]):
        assert rules.split("|".join(listed)) == listed
