"""Schedulers that are not there: programs on PATH that keep their state in a file, and lie when they are told to."""
