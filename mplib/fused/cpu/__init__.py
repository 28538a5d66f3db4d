"""The fused perturbation on a CPU, compiled by Numba: one sample at a time, in the cache of a core."""
