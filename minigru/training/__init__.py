"""Training: data, configuration, checkpoints, stopping and resuming, several processes."""
