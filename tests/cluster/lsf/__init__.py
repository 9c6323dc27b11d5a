"""Commands that speak LSF's dialect over a private Slurm.

What is queued, limited, killed and started again is real; only the words are translated. ``site.Site`` is an
installation; ``main.COMMANDS`` is what it has.
"""
