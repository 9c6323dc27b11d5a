"""Stewards: who goes on with a study when nobody is logged in. On this machine, or as a job of a scheduler."""
