// What a kernel of multi-scale deformable attention is given, in plain C++: shared by every instruction set.
#pragma once

#include <cstdint>

namespace maskdino {

// The upper half of a float32.
struct BFloat16 {
  uint16_t bits;
};

// Where each of the L*P points of a query and head is sampled: its level's size and first position.
template <typename A>
struct PointLevels {
  const A* width;
  const A* height;
  const int32_t* columns;
  const int32_t* rows;
  const int32_t* start;
};

// Tensors are contiguous: value (B, S, M, D), locations (B, Q, M, LP, 2), weights (B, Q, M, LP), output (B, Q, M, D).
// The gradient of value is kept in the type that sums are computed in, A; all others have the type of value.
template <typename T, typename A>
struct Problem {
  int64_t batch, positions, heads, width, queries, points;  // B, S, M, D, Q, LP
  PointLevels<A> levels;
  const T* value;
  const T* locations;
  const T* weights;
  T* output;
  const T* grad_output;
  A* grad_value;
  T* grad_locations;
  T* grad_weights;
};

// One of the kernels: works on the tasks from `begin` to `end`. A task of the forward pass is one query of one image
// (B*Q tasks); a task of the backward pass is one head of one image (B*M tasks), which alone writes its slice of
// grad_value. So no result depends on how the tasks are shared out.
template <typename T, typename A>
using Kernel = void (*)(const Problem<T, A>& problem, int64_t begin, int64_t end);

// The kernels of one instruction set.
struct Kernels {
  Kernel<float, float> forward_float;
  Kernel<float, float> backward_float;
  Kernel<double, double> forward_double;
  Kernel<double, double> backward_double;
  Kernel<BFloat16, float> forward_bfloat16;
  Kernel<BFloat16, float> backward_bfloat16;
};

Kernels baseline_kernels();
Kernels avx2_kernels();    // needs AVX2 and FMA
Kernels avx512_kernels();  // needs AVX-512 F, BW, DQ and VL

}  // namespace maskdino
