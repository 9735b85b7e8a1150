"""The layers, the loss and the optimiser: the equations of `minigru.reference`, arranged for speed."""
