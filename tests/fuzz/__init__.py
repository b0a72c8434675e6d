"""Damaged and hostile files against the command line: `python -m tests.fuzz --cases N --seed S`.

Each case damages one file of a small lab in a way that its seed decides and runs one command on
it, in a process forked from one that has everything imported (about 20 a second). What must hold
is in `harness.py`. A case that fails is written to `kept/`, which the test suite runs as well.
"""
