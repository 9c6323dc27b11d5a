"""Deep thinking: recurrent nets that solve harder problems by thinking longer; see ``docs/papers/thinking.md``."""
