// The kernels for any processor: SSE2 on x86-64, NEON on ARM.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "ms_deform_attn_problem.h"

#define MASKDINO_PACK_BYTES 16

namespace maskdino::baseline {
#include "pack.h"

#include "ms_deform_attn_kernel.h"
}  // namespace maskdino::baseline

namespace maskdino {
Kernels baseline_kernels() { return baseline::kernels(); }
}  // namespace maskdino
