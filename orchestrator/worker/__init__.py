"""What runs inside a job: an incarnation, its signals and heartbeat, events, checkpoints, verdicts."""
