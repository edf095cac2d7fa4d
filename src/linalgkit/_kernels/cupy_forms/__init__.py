"""CuPy forms: CUDA sources (``*.cu``) and the functions that launch them.

No module here imports CuPy at its top: the sources can be compiled and checked on a machine
without a device.
"""
