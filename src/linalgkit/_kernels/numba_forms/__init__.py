"""Numba forms for NumPy arrays; imported at first use by the kernel mechanism only."""
