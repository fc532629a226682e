"""Arguments of bound scripts, and what the real agent made of them (plugins/scheduler.go:65-105)."""

from __future__ import annotations

# What stands between the parentheses -> what the script gets.
ARGUMENTS = [
    ("", [""]),
    ("a,b", ["a", "b"]),
    (" a , b ", ["a", "b"]),
    ("a,", ["a"]),
    (",a", ["", "a"]),
    (r"a,x\,y", ["a", "x,y"]),
    (r"x\,y", ["x", "y"]),
    ("\"a b\",'c d'", ["a b", "c d"]),
    ('"a,b"', ["a", "b"]),
    (r"a,x\,y\,z", ["a", "x,y", "z"]),
    (r"a,x\,y,z", ["a", "x,y", "z"]),
    (",", [""]),
    ("'\"a\"'", ['"a"']),
    ("\"'a'\"", ["a"]),
    ('""', [""]),
]
