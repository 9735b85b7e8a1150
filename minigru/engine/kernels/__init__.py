"""The elementwise steps between the matrix products, one module a backend, the same names and arguments in each."""
