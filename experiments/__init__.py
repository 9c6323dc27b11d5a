"""The science that ships with ``orch``: each sub-package is one experiment, its parameters torch-free."""
