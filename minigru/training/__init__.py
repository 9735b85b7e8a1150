"""What surrounds the training step: data, configuration, checkpoints, stopping, several processes."""
