"""Neural arithmetic modules that learn exact arithmetic: see ``docs/papers/arithmetic.md``."""
