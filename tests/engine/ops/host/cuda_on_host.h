// Runs a CUDA kernel on a CPU, unchanged: the lanes of a warp are fibres that take turns, each until the next point where
// they wait for one another. The order of the turns is shuffled, so that a missing wait shows as a wrong result, and a wait
// that not all lanes of a warp reach, as an error.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define MASKDINO_ON_HOST
#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__

using std::floor;
using std::min;

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct Dimension {
  unsigned x;
};

namespace on_host {

constexpr int kLanes = 32;
constexpr std::size_t kStack = 256 * 1024;

// One warp: its fibres, and what they hand to one another.
struct Warp {
  ucontext_t scheduler, lanes[kLanes];
  std::vector<char> stacks = std::vector<char>(kLanes * kStack);
  int running = -1;
  bool done[kLanes];
  int waited[kLanes];  // how often the lane has waited
  const char* where[kLanes];
  unsigned char handed[kLanes][16];
  std::function<void()> body;
};

inline Warp& warp() {
  static Warp one;
  return one;
}
inline Dimension block, block_size, thread;

// Leave the lane's turn; come back when all lanes are here.
inline void wait(const char* where) {
  Warp& w = warp();
  const int lane = w.running;
  w.where[lane] = where;
  ++w.waited[lane];
  swapcontext(&w.lanes[lane], &w.scheduler);
}

inline void lane_main() {
  Warp& w = warp();
  w.body();
  w.done[w.running] = true;
}

inline void run_warp(int first_thread, std::mt19937& random) {
  Warp& w = warp();
  std::vector<int> order(kLanes);
  for (int lane = 0; lane < kLanes; ++lane) {
    order[lane] = lane;
    w.done[lane] = false;
    w.waited[lane] = 0;
    getcontext(&w.lanes[lane]);
    w.lanes[lane].uc_stack.ss_sp = w.stacks.data() + lane * kStack;
    w.lanes[lane].uc_stack.ss_size = kStack;
    w.lanes[lane].uc_link = &w.scheduler;
    makecontext(&w.lanes[lane], lane_main, 0);
  }
  while (!w.done[0]) {
    std::shuffle(order.begin(), order.end(), random);
    for (const int lane : order) {
      w.running = lane;
      thread.x = first_thread + lane;
      swapcontext(&w.scheduler, &w.lanes[lane]);
    }
    for (int lane = 1; lane < kLanes; ++lane) {
      if (w.done[lane] != w.done[0] || w.waited[lane] != w.waited[0] || (!w.done[0] && w.where[lane] != w.where[0])) {
        std::fprintf(stderr, "lanes 0 and %d of a warp wait at different places\n", lane);
        std::exit(3);
      }
    }
  }
}

template <unsigned LANES, typename T>
T shuffled(T value, int mask, const char* where) {
  static_assert(LANES == 0xffffffffu, "all lanes of a warp take part");
  Warp& w = warp();
  const int lane = w.running;
  std::memcpy(w.handed[lane], &value, sizeof(value));
  wait(where);
  std::memcpy(&value, w.handed[lane ^ mask], sizeof(value));
  wait(where);
  return value;
}

}  // namespace on_host

// The shared memory of a block; a kernel declares it in its own namespace.
namespace maskdino {
inline uint4 shared[48 * 1024 / sizeof(uint4)];
}

namespace on_host {

// Run body() once for every thread of a grid. Warps run one after the other: they share nothing but what they add up.
inline void launch(
    unsigned blocks, unsigned threads, unsigned shared_bytes, unsigned seed, const std::function<void()>& body) {
  const auto* memory = reinterpret_cast<const unsigned char*>(maskdino::shared);
  std::mt19937 random(seed);
  block_size.x = threads;
  warp().body = body;
  for (block.x = 0; block.x < blocks; ++block.x) {
    std::memset(maskdino::shared, 0xff, sizeof(maskdino::shared));  // not a number, and no position
    for (unsigned first = 0; first < threads; first += kLanes) run_warp(static_cast<int>(first), random);
    for (std::size_t byte = shared_bytes; byte < sizeof(maskdino::shared); ++byte) {
      if (memory[byte] == 0xff) continue;
      std::fprintf(stderr, "byte %zu of shared memory was written; there are %u\n", byte, shared_bytes);
      std::exit(3);
    }
  }
}

}  // namespace on_host

#define blockIdx on_host::block
#define blockDim on_host::block_size
#define threadIdx on_host::thread

#define ON_HOST_TEXT(line) #line
#define ON_HOST_LINE(line) ON_HOST_TEXT(line)
#define __syncwarp() on_host::wait("line " ON_HOST_LINE(__LINE__))
#define __shfl_xor_sync(lanes, value, mask) on_host::shuffled<lanes>(value, mask, "line " ON_HOST_LINE(__LINE__))

template <typename T>
T __ldg(const T* source) {
  return *source;
}
template <typename T>
void atomicAdd(T* target, T term) {
  *target += term;
}
