"""The table of slow tests names tests that exist, and leaves out no more than it says."""

import ast
from pathlib import Path

import slow

HERE = Path(__file__).resolve().parent


def test_what_is_named_slow_is_a_test():
    tests = {
        f"{file.name}::{node.name}"
        for file in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert slow.EVERY.keys() | slow.FIRST | slow.WHOLE <= tests
    assert not slow.EVERY.keys() & slow.FIRST
    assert not (slow.EVERY.keys() | slow.FIRST) & slow.WHOLE


def test_the_first_of_every_so_many_rows_is_fast():
    name = next(iter(slow.EVERY))
    every = slow.EVERY[name]
    assert [row for row in range(3 * every) if not slow.is_slow(name, row)] == [0, every, 2 * every]
    first = next(iter(slow.FIRST))
    assert [slow.is_slow(first, row) for row in range(3)] == [False, True, True]
    assert slow.is_slow(next(iter(slow.WHOLE)), 0)
    assert not slow.is_slow("test_slow.py::test_the_first_of_every_so_many_rows_is_fast", 7)
