"""Experiments on the memory of a trained GRU: generated tasks, gates traced at every step, pictures of your own."""
