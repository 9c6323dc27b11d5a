"""The study directory: the only room that knows a file name."""
