// The kernels for processors with AVX-512; only called where the processor has them.
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
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#endif

#define MASKDINO_PACK_BYTES 64

namespace maskdino::avx512 {
#include "pack.h"

#include "ms_deform_attn_kernel.h"
}  // namespace maskdino::avx512

namespace maskdino {
Kernels avx512_kernels() { return avx512::kernels(); }
}  // namespace maskdino

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
