// Solve one problem with the CUDA kernels, on a CPU: the problem as raw bytes on standard input, the results on standard
// output. Built by tests/engine/ops/cuda_on_host.py for one MASKDINO_VALUE, MASKDINO_POINT, MASKDINO_WIDTH and MASKDINO_INDEX.
#include "cuda_on_host.h"
#include "ptx_on_host.h"

#include "ms_deform_attn.cuh"

namespace {

template <typename T>
std::vector<T> read(std::size_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(4);
  return values;
}

template <typename T>
void write(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

}  // namespace

int main() {
  using namespace maskdino;
  using T = MASKDINO_VALUE;
  using P = MASKDINO_POINT;
  // blocks, threads and bytes of shared memory of either pass, then the seed of the order in which lanes take turns
  const auto shape = read<unsigned>(7);
  const auto chunks = read<int>(2);
  Problem problem = read<Problem>(1)[0];
  const auto batch = static_cast<std::size_t>(read<int>(1)[0]);
  const std::size_t rows = batch * problem.queries * problem.heads;
  const auto value = read<T>(batch * problem.positions * problem.heads * MASKDINO_WIDTH);
  const auto locations = read<P>(2 * rows * problem.points);
  const auto weights = read<P>(rows * problem.points);
  const auto grad_output = read<T>(rows * MASKDINO_WIDTH);
  std::vector<T> output(grad_output.size());
  std::vector<SumOf<T>::type> grad_value(value.size());
  std::vector<P> grad_locations(locations.size()), grad_weights(weights.size());
  problem.value = value.data(), problem.locations = locations.data(), problem.weights = weights.data();
  problem.output = output.data(), problem.grad_output = grad_output.data(), problem.grad_value = grad_value.data();
  problem.grad_locations = grad_locations.data(), problem.grad_weights = grad_weights.data();
  problem.chunk = chunks[0];
  on_host::launch(shape[0], shape[1], shape[2], shape[6], [&] { ms_deform_attn_forward(problem); });
  problem.chunk = chunks[1];
  on_host::launch(shape[3], shape[4], shape[5], shape[6], [&] { ms_deform_attn_backward(problem); });
  write(output), write(grad_value), write(grad_locations), write(grad_weights);
}
