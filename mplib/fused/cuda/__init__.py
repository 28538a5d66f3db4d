"""The fused perturbation on a GPU, compiled by Triton: six passes over the map, each by many small programs."""
