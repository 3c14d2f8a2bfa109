"""What a trial prints is kept while it is shown, the last of it, and streams are as before afterwards."""

import sys

import pytest

from bench.core.overheard import MOST, overheard


def test_what_is_printed_is_kept_and_shown(capsys):
    before = sys.stdout, sys.stderr
    with overheard() as said:
        print("one")
        print("two", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before and str(said) == "one\ntwo"
    assert capsys.readouterr() == ("one\n", "two\n")
    print("three")
    assert str(said) == "one\ntwo"


def test_of_much_the_last_is_kept_and_of_a_progress_bar_its_last_state():
    with overheard() as said:
        for number in range(5000):
            print(f"line {number}")
        print("10 %\r20 %\r", end="")
        print("30 %\r", end="\n")
        print("40 %\r50 %")
    lines = str(said).splitlines()
    assert len(str(said)) <= MOST and lines[-2:] == ["30 %", "50 %"] and lines[-3] == "line 4999"


def test_a_stream_that_is_closed_is_open_afterwards(capsys):
    with overheard() as said:
        sys.stdout.close()
    print("still there")
    assert str(said) == "" and capsys.readouterr().out == "still there\n"


def test_streams_come_back_when_it_raises():
    before = sys.stdout
    with pytest.raises(ValueError), overheard() as said:
        print("before the end")
        raise ValueError
    assert sys.stdout is before and str(said) == "before the end"
