// The kernels for processors with AVX2 and FMA; only called where the processor has them.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "ms_deform_attn_problem.h"

#if defined(__GNUC__) && defined(__x86_64__)
// After the standard headers: what they define inline may be shared with code for any processor.
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define MASKDINO_PACK_BYTES 32

namespace maskdino::avx2 {
#include "pack.h"

#include "ms_deform_attn_kernel.h"
}  // namespace maskdino::avx2

namespace maskdino {
Kernels avx2_kernels() { return avx2::kernels(); }
}  // namespace maskdino

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
