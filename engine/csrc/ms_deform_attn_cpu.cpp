// The CPU kernels as operators of torch, through its stable ABI: one build runs with every torch from 2.10 on.
//
// They are the inner side of maskdino::ms_deform_attn, which Python registers (engine/ops): they write into tensors that
// the caller made, and know nothing of autograd.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdlib>
#include <string_view>
#include <vector>

#include "ms_deform_attn_problem.h"

namespace maskdino {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

enum class InstructionSet : int64_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best that this processor has, or less where MASKDINO_CPU says "baseline" or "avx2".
InstructionSet chosen_instruction_set() {
  auto best = InstructionSet::kBaseline;
#if defined(__GNUC__) && defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = InstructionSet::kAvx2;
  if (best == InstructionSet::kAvx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    best = InstructionSet::kAvx512;
  }
#endif
  const char* asked = std::getenv("MASKDINO_CPU");
  if (asked != nullptr && std::string_view(asked) == "baseline") return InstructionSet::kBaseline;
  if (asked != nullptr && std::string_view(asked) == "avx2" && best == InstructionSet::kAvx512) return InstructionSet::kAvx2;
  return best;
}

InstructionSet instruction_set() {
  static const InstructionSet chosen = chosen_instruction_set();
  return chosen;
}

const Kernels& kernels() {
  static const Kernels chosen = [] {
#if defined(__GNUC__) && defined(__x86_64__)
    if (instruction_set() == InstructionSet::kAvx512) return avx512_kernels();
    if (instruction_set() == InstructionSet::kAvx2) return avx2_kernels();
#endif
    return baseline_kernels();
  }();
  return chosen;
}

// The levels spread out over the points of a query and head, and the memory behind them.
template <typename A>
struct LevelTable {
  std::vector<A> width, height;
  std::vector<int32_t> columns, rows, start;

  LevelTable(const Tensor& spatial_shapes, int64_t points_a_level) {
    const int64_t* shapes = spatial_shapes.const_data_ptr<int64_t>();
    int64_t first = 0;
    for (int64_t level = 0; level < spatial_shapes.size(0); ++level) {
      const int64_t level_rows = shapes[2 * level], level_columns = shapes[2 * level + 1];
      for (int64_t point = 0; point < points_a_level; ++point) {
        width.push_back(static_cast<A>(level_columns));
        height.push_back(static_cast<A>(level_rows));
        columns.push_back(static_cast<int32_t>(level_columns));
        rows.push_back(static_cast<int32_t>(level_rows));
        start.push_back(static_cast<int32_t>(first));
      }
      first += level_rows * level_columns;
    }
  }

  PointLevels<A> view() const { return {width.data(), height.data(), columns.data(), rows.data(), start.data()}; }
};

void check(const Tensor& tensor, const char* name, int64_t dim, ScalarType type, int64_t count) {
  STD_TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous(), name, " must be a contiguous tensor on the CPU");
  STD_TORCH_CHECK(tensor.dim() == dim && tensor.scalar_type() == type, name, " has a wrong number of axes or dtype");
  STD_TORCH_CHECK(count < 0 || tensor.numel() == count, name, " has ", tensor.numel(), " elements instead of ", count);
}

void check_inputs(const Tensor& value, const Tensor& spatial_shapes, const Tensor& locations, const Tensor& weights) {
  const ScalarType type = value.scalar_type();
  check(value, "value", 4, type, -1);
  check(spatial_shapes, "spatial_shapes", 2, ScalarType::Long, -1);
  check(weights, "attention_weights", 5, type, -1);
  check(locations, "sampling_locations", 6, type, 2 * weights.numel());
  STD_TORCH_CHECK(
      weights.size(0) == value.size(0) && weights.size(2) == value.size(2) && weights.size(3) == spatial_shapes.size(0) &&
          spatial_shapes.size(1) == 2,
      "the shapes of value, spatial_shapes and attention_weights do not belong together");
  const int64_t* shapes = spatial_shapes.const_data_ptr<int64_t>();
  int64_t covered = 0;
  for (int64_t level = 0; level < spatial_shapes.size(0); ++level) {
    STD_TORCH_CHECK(shapes[2 * level] >= 0 && shapes[2 * level + 1] >= 0, "spatial_shapes has a negative size");
    covered += shapes[2 * level] * shapes[2 * level + 1];
  }
  STD_TORCH_CHECK(covered == value.size(1), "spatial_shapes cover ", covered, " positions, value has ", value.size(1));
  STD_TORCH_CHECK(covered < INT32_MAX, "value has too many positions: ", covered);
}

template <typename T, typename A>
Problem<T, A> problem_of(
    const Tensor& value, const LevelTable<A>& table, const Tensor& locations, const Tensor& weights) {
  Problem<T, A> problem{};
  problem.batch = value.size(0);
  problem.positions = value.size(1);
  problem.heads = value.size(2);
  problem.width = value.size(3);
  problem.queries = weights.size(1);
  problem.points = weights.size(3) * weights.size(4);
  problem.levels = table.view();
  problem.value = static_cast<const T*>(value.const_data_ptr());
  problem.locations = static_cast<const T*>(locations.const_data_ptr());
  problem.weights = static_cast<const T*>(weights.const_data_ptr());
  return problem;
}

template <typename T, typename A>
void run_forward(
    Kernel<T, A> kernel, const Tensor& value, const Tensor& spatial_shapes, const Tensor& locations, const Tensor& weights,
    const Tensor& output) {
  const LevelTable<A> table(spatial_shapes, weights.size(4));
  Problem<T, A> problem = problem_of<T, A>(value, table, locations, weights);
  problem.output = static_cast<T*>(output.mutable_data_ptr());
  // fewer than a few queries are not worth waking a thread for
  torch::stable::parallel_for(
      0, problem.batch * problem.queries, 16, [&](int64_t begin, int64_t end) { kernel(problem, begin, end); });
}

template <typename T, typename A>
void run_backward(
    Kernel<T, A> kernel, const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes,
    const Tensor& locations, const Tensor& weights, const Tensor& grad_value, const Tensor& grad_locations,
    const Tensor& grad_weights) {
  const LevelTable<A> table(spatial_shapes, weights.size(4));
  Problem<T, A> problem = problem_of<T, A>(value, table, locations, weights);
  problem.grad_output = static_cast<const T*>(grad_output.const_data_ptr());
  problem.grad_value = static_cast<A*>(grad_value.mutable_data_ptr());
  problem.grad_locations = static_cast<T*>(grad_locations.mutable_data_ptr());
  problem.grad_weights = static_cast<T*>(grad_weights.mutable_data_ptr());
  torch::stable::parallel_for(
      0, problem.batch * problem.heads, 1, [&](int64_t begin, int64_t end) { kernel(problem, begin, end); });
}

// Write (B, Q, M*D) into `output`.
void ms_deform_attn_cpu(
    const Tensor& value, const Tensor& spatial_shapes, const Tensor& locations, const Tensor& weights,
    const Tensor& output) {
  check_inputs(value, spatial_shapes, locations, weights);
  check(output, "output", 3, value.scalar_type(), value.size(0) * weights.size(1) * value.size(2) * value.size(3));
  switch (value.scalar_type()) {
    case ScalarType::Float:
      return run_forward(kernels().forward_float, value, spatial_shapes, locations, weights, output);
    case ScalarType::Double:
      return run_forward(kernels().forward_double, value, spatial_shapes, locations, weights, output);
    case ScalarType::BFloat16:
      return run_forward(kernels().forward_bfloat16, value, spatial_shapes, locations, weights, output);
    default:
      STD_TORCH_CHECK(false, "value must be float32, float64 or bfloat16");
  }
}

// Write the gradients; `grad_value` holds zeros before, and is float32 where value is bfloat16.
void ms_deform_attn_cpu_backward(
    const Tensor& grad_output, const Tensor& value, const Tensor& spatial_shapes, const Tensor& locations,
    const Tensor& weights, const Tensor& grad_value, const Tensor& grad_locations, const Tensor& grad_weights) {
  check_inputs(value, spatial_shapes, locations, weights);
  const ScalarType type = value.scalar_type();
  check(grad_output, "grad_output", 3, type, value.size(0) * weights.size(1) * value.size(2) * value.size(3));
  check(grad_value, "grad_value", 4, type == ScalarType::BFloat16 ? ScalarType::Float : type, value.numel());
  check(grad_locations, "grad_locations", 6, type, locations.numel());
  check(grad_weights, "grad_weights", 5, type, weights.numel());
  switch (type) {
    case ScalarType::Float:
      return run_backward(
          kernels().backward_float, grad_output, value, spatial_shapes, locations, weights, grad_value, grad_locations,
          grad_weights);
    case ScalarType::Double:
      return run_backward(
          kernels().backward_double, grad_output, value, spatial_shapes, locations, weights, grad_value, grad_locations,
          grad_weights);
    case ScalarType::BFloat16:
      return run_backward(
          kernels().backward_bfloat16, grad_output, value, spatial_shapes, locations, weights, grad_value, grad_locations,
          grad_weights);
    default:
      STD_TORCH_CHECK(false, "value must be float32, float64 or bfloat16");
  }
}

int64_t ms_deform_attn_cpu_instruction_set() { return static_cast<int64_t>(instruction_set()); }

}  // namespace
}  // namespace maskdino

STABLE_TORCH_LIBRARY_FRAGMENT(maskdino, library) {
  library.def(
      "ms_deform_attn_cpu(Tensor value, Tensor spatial_shapes, Tensor sampling_locations, Tensor attention_weights, "
      "Tensor(a!) output) -> ()");
  library.def(
      "ms_deform_attn_cpu_backward(Tensor grad_output, Tensor value, Tensor spatial_shapes, Tensor sampling_locations, "
      "Tensor attention_weights, Tensor(a!) grad_value, Tensor(b!) grad_locations, Tensor(c!) grad_weights) -> ()");
  library.def("ms_deform_attn_cpu_instruction_set() -> int");
}

STABLE_TORCH_LIBRARY_IMPL(maskdino, CPU, library) {
  library.impl("ms_deform_attn_cpu", TORCH_BOX(&maskdino::ms_deform_attn_cpu));
  library.impl("ms_deform_attn_cpu_backward", TORCH_BOX(&maskdino::ms_deform_attn_cpu_backward));
}

STABLE_TORCH_LIBRARY_IMPL(maskdino, CompositeExplicitAutograd, library) {
  library.impl("ms_deform_attn_cpu_instruction_set", TORCH_BOX(&maskdino::ms_deform_attn_cpu_instruction_set));
}
