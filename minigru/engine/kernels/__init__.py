"""The elementwise steps between the matrix products: one module per backend, with the same names and arguments."""
