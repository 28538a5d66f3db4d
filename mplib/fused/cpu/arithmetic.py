"""Numbers for the fused perturbation: a normal draw, exp and log that LLVM turns into vector code, and the
compiler's options.

The functions are scalar; LLVM inlines them into the loops that call them. A call of the C library in their place
would keep the loop from being vectorised.

Numba's cache notices a change only in the file of the function that is called from Python: after a change here,
delete ``kernels.*.nb*`` in ``__pycache__``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])
Floats = npt.NDArray[np.float32]
f32: Any = np.float32
i32: Any = np.int32
u32: Any = np.uint32
u64: Any = np.uint64
ZERO, ONE, TWO = f32(0), f32(1), f32(2)


def _cacheable() -> bool:
    """Numba refuses to decorate where it finds no folder that can be written; then each process compiles for itself."""
    try:
        njit(cache=True)(_cacheable)
    except RuntimeError:
        return False
    return True


CACHE = _cacheable()


def jit(function: Function) -> Function:
    # neither nnan nor ninf: a NaN that comes in has to go out
    fast = {"reassoc", "contract", "arcp", "nsz"}
    compiled: Function = njit(nogil=True, cache=CACHE, error_model="numpy", fastmath=fast)(function)
    return compiled


# The normal draw: Philox-2x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
# then Box and Muller. Numba widens the result of integer arithmetic to 64 bits, hence the many conversions back.


@jit
def fill_bits(first: Any, second: Any, key: Any, offset: Any, stream: Any) -> None:
    """2 x 32 random bits at each position j: ten rounds of Philox on the counter (j + offset, stream)."""
    for j in range(first.size):
        k = u32(key)
        c0, c1 = u64(u32(u32(j) + offset)), u64(stream)
        for _ in range(10):
            product = c0 * u64(0xD256D193)
            c0 = (product >> u64(32)) ^ u64(k) ^ c1
            c1 = product & u64(0xFFFFFFFF)
            k = u32(k + u32(0x9E3779B9))
        first[j], second[j] = u32(c0), u32(c1)


@jit
def normal_pair(bits0: Any, bits1: Any) -> Any:
    """Two independent standard normals, at most 6.66 in size."""
    # radius^2 = -2 log(u), u = (j + 1/2) / 2^31 with j of 31 bits, from the exponent e and the mantissa 1 + m of
    # j + 1/2 (Cephes' logf)
    raw = i32(f32(f32(i32(bits0 >> u32(1))) + f32(0.5)).view(np.int32) - i32(0x3F3504F3))
    m = i32((raw & i32(0x7FFFFF)) + i32(0x3F3504F3)).view(np.float32) - ONE
    e = f32(i32(raw >> i32(23)))
    p = f32(7.0376836292e-2)
    p = p * m - f32(1.1514610310e-1)
    p = p * m + f32(1.1676998740e-1)
    p = p * m - f32(1.2420140846e-1)
    p = p * m + f32(1.4249322787e-1)
    p = p * m - f32(1.6668057665e-1)
    p = p * m + f32(2.0000714765e-1)
    p = p * m - f32(2.4999993993e-1)
    p = p * m + f32(3.3333331174e-1)
    log_m = m + m * m * (p * m - f32(0.5))
    radius = np.sqrt(max((f32(31) - e) * f32(2 * math.log(2)) - TWO * log_m, ZERO))
    # cosine and sine of the angle 2 t, -pi/2 <= t < pi/2, from Taylor's series for t
    t = f32(i32(bits1)) * f32(math.pi / 2**32)
    q = t * t
    s = f32(1 / 362880) - q * f32(1 / 39916800)
    s = s * q - f32(1 / 5040)
    s = s * q + f32(1 / 120)
    s = s * q - f32(1 / 6)
    s = s * q * t + t
    c = f32(1 / 3628800) - q * f32(1 / 479001600)
    c = f32(1 / 40320) - c * q
    c = c * q - f32(1 / 720)
    c = c * q + f32(1 / 24)
    c = c * q - f32(0.5)
    c = c * q + ONE
    return radius * (ONE - TWO * s * s), radius * (TWO * s * c)


@jit
def fill_normal(out: Floats, spare: Floats, key: Any, offset: Any, stream: Any) -> None:
    """Standard normals; out and spare have an even size."""
    half = out.size // 2
    bits = spare.view(np.uint32)
    first, second = bits[:half], bits[half : 2 * half]
    fill_bits(first, second, key, offset, stream)
    for j in range(half):
        out[j], out[half + j] = normal_pair(first[j], second[j])


# softplus(a) = max(a, 0) + log(1 + exp(-|a|))


@jit
def exp_of_minus_abs(a: Any) -> Any:
    """exp(-|a|) to a relative error of 3e-7, by Cephes' expf; exp(-87) is the least."""
    a = max(-abs(a), f32(-87))
    n = i32(a * f32(1 / math.log(2)) - f32(0.5))  # the conversion truncates towards 0 and a <= 0: this rounds
    r = a - f32(n) * f32(0.693359375) + f32(n) * f32(2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    return (p * r * r + r + ONE) * i32((n + i32(127)) << i32(23)).view(np.float32)


@jit
def log1p(t: Any) -> Any:
    """log(1 + t) for 0 <= t <= 1 to a relative error of 2e-7: Chebyshev interpolation of log(1 + t) / t, degree 8."""
    p = f32(0.00525345793)
    p = p * t - f32(0.0295885075)
    p = p * t + f32(0.0783616677)
    p = p * t - f32(0.136747703)
    p = p * t + f32(0.191114306)
    p = p * t - f32(0.248443693)
    p = p * t + f32(0.333192706)
    p = p * t - f32(0.499995023)
    return (p * t + ONE) * t
