"""Turns one declarative grid file into trained runs, tables and figures on Slurm, LSF or one machine."""

__version__ = "0.1.0"
