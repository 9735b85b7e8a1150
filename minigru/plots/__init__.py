"""Figures: arrays in, a matplotlib Figure out. This room imports nothing else of minigru and writes no file."""
