// Multi-scale deformable attention on a GPU: Deformable DETR (arXiv 2010.04159), equation 3, and its derivatives.
//
// Self-contained: compiled at run time (engine/ops/cuda.py) for one MASKDINO_VALUE type, one MASKDINO_POINT type of locations
// and weights, one MASKDINO_WIDTH of a head and one MASKDINO_INDEX type.
//
// A row is one query of one image and head: L*P points, four corners each. The lanes of a row share its points out to
// describe them once (where the corners are, what each counts), leave that in shared memory, and then walk over the points
// together, each lane with a few neighbouring channels. The rows of a block are neighbouring queries of one head: what one
// of them reads is in the first-level cache when the next wants it.
#pragma once

#ifndef MASKDINO_ON_HOST  // the tests run the kernels on a CPU and bring their own
#include "ms_deform_attn_ptx.cuh"
#endif
#include "ms_deform_attn_vectors.cuh"

namespace maskdino {

constexpr int kMaxLevels = 16;
constexpr int kMaxThreads = 256;

struct Level {
  int rows, columns, start;
};

// Tensors are contiguous: value (B, S, M, D), locations (B, Q, M, L, P, 2), weights (B, Q, M, L, P), output (B, Q, M, D).
// The gradient of value holds zeros at first, in the type that sums are computed in; all others have their tensor's type.
struct Problem {
  const void* value;
  const void* locations;
  const void* weights;
  void* output;
  const void* grad_output;
  void* grad_value;
  void* grad_locations;
  void* grad_weights;
  int positions, heads, queries;
  int points;           // L*P
  unsigned reciprocal;  // of P, times 2^24 and rounded up: exact for the 16 * P points that there can be, up to P = 1000
  int chunk;            // points of a row that are described at once
  Level levels[kMaxLevels];
};

__device__ inline const Level& level_of(const Problem& problem, int point) {
  return problem.levels[static_cast<unsigned>(point) * problem.reciprocal >> 24];
}

// The row that a lane works on. A block has rows of one image and head; heads run fastest over the blocks, so that blocks
// that run together rarely add to the same place.
struct Row {
  bool there;
  int lane;                  // of the row
  long long index;           // in (B, Q, M)
  long long image_and_head;  // the first channel at position 0
};

template <typename C>
__device__ inline Row this_row(const Problem& problem, int width) {
  const int rows = C::rows * (blockDim.x / 32);
  const int groups = (problem.queries + rows - 1) / rows;
  const int head = blockIdx.x % problem.heads;
  const int rest = blockIdx.x / problem.heads;
  const int query = rest % groups * rows + threadIdx.x / C::lanes;
  const long long image = rest / groups;
  return {query < problem.queries, static_cast<int>(threadIdx.x % C::lanes),
          (image * problem.queries + query) * problem.heads + head,
          (image * problem.positions * problem.heads + head) * width};
}

// A point's cell: its upper left corner and the shares of the right and of the lower corners.
template <typename A>
struct Cell {
  int column, row;
  A right, lower;
  A weight;
  bool touches;  // at least one corner may lie on the map
};

template <typename A, typename P>
__device__ inline Cell<A> cell(const Level& level, const P* locations, const P* weights, long long point) {
  const Vector<A, 2> location = unpacked<A>(load<2>(locations + 2 * point));
  const A x = location.lane[0] * static_cast<A>(level.columns) - A(0.5);
  const A y = location.lane[1] * static_cast<A>(level.rows) - A(0.5);
  const A weight = unpacked<A>(load<1>(weights + point)).lane[0];
  const bool touches = x >= -1 && y >= -1 && x < static_cast<A>(level.columns) && y < static_cast<A>(level.rows);
  // nought for a point far away; not a number where a location or weight is not finite, so that a diverging model shows
  const A off = (x - x) + (y - y) + (weight - weight);
  const A left = touches ? floor(x) : A(0), upper = touches ? floor(y) : A(0);
  return {static_cast<int>(left), static_cast<int>(upper), touches ? x - left : off, touches ? y - upper : off, weight,
          touches};
}

// What the lanes of a row tell each other: where the corners of its points begin, less than nought off the map, and what
// each counts. Entries of a warp; the row's stride is odd, so that the rows of a warp read from different banks.
template <typename A, typename Index>
struct Table {
  Vector<Index, 4>* offset;
  Vector<A, 4>* share;
  Vector<A, 4>* dots;  // of the backward pass alone

  __device__ Table(void* shared, int rows, int chunk, bool with_dots) {
    const int stride = chunk | 1, entries = rows * stride;
    const int bytes = entries * static_cast<int>(sizeof(*offset) + sizeof(*share) * (with_dots ? 2 : 1));
    char* warp = static_cast<char*>(shared) + threadIdx.x / 32 * bytes;
    const int mine = threadIdx.x % 32 / (32 / rows) * stride;
    offset = reinterpret_cast<Vector<Index, 4>*>(warp) + mine;
    share = reinterpret_cast<Vector<A, 4>*>(warp + entries * sizeof(*offset)) + mine;
    dots = reinterpret_cast<Vector<A, 4>*>(warp + entries * (sizeof(*offset) + sizeof(*share))) + mine;
  }
};

template <typename A, typename Index>
__device__ inline void describe(
    const Level& level, const Cell<A>& cell, Index stride, Vector<Index, 4>& offset, Vector<A, 4>& share) {
  const bool left = cell.touches && cell.column >= 0, right = cell.touches && cell.column + 1 < level.columns;
  const bool upper = cell.row >= 0, lower = cell.row + 1 < level.rows;
  const Index first = (static_cast<Index>(level.start) + static_cast<Index>(cell.row) * level.columns + cell.column) * stride;
  const Index below = first + level.columns * stride;
  offset = {{upper && left ? first : -1, upper && right ? first + stride : -1, lower && left ? below : -1,
             lower && right ? below + stride : -1}};
  const A down = cell.lower * cell.weight, up = cell.weight - down;
  const A along_down = cell.right * down, along_up = cell.right * up;
  share = {{up - along_up, along_up, down - along_down, along_down}};
}

// Describe the points of a row from `first` on.
template <int LANES, typename A, typename P, typename Index>
__device__ inline void describe_all(
    const Problem& problem, const Row& row, int first, int count, Index stride, const Table<A, Index>& table) {
  for (int i = row.lane; i < count; i += LANES) {
    const Level& level = level_of(problem, first + i);
    const Cell<A> point = cell<A>(
        level, static_cast<const P*>(problem.locations), static_cast<const P*>(problem.weights),
        row.index * problem.points + first + i);
    describe(level, point, stride, table.offset[i], table.share[i]);
  }
}

// T is the type of value, P that of locations and weights. As many blocks as cover (B, M, Q); every output is summed by one
// lane in the order of its points, so that it is the same every time.
template <typename T, typename P, int WIDTH, typename Index>
__device__ void forward(const Problem& problem, void* shared) {
  using A = typename SumOf<T>::type;
  using C = Channels<WIDTH, 16 / sizeof(T)>;
  const Row row = this_row<C>(problem, WIDTH);
  const Table<A, Index> table(shared, C::rows, problem.chunk, false);
  const Index stride = static_cast<Index>(problem.heads) * WIDTH;
  const int mine = row.lane * C::vector;  // the lane's first channel
  const T* value = settled(static_cast<const T*>(problem.value) + row.image_and_head + mine);

  A sum[C::passes][C::vector] = {};
  for (int first = 0; first < problem.points; first += problem.chunk) {
    const int count = row.there ? min(problem.chunk, problem.points - first) : 0;
    describe_all<C::lanes, A, P>(problem, row, first, count, stride, table);
    __syncwarp();
#pragma unroll 2
    for (int i = 0; i < count; ++i) {
      const Vector<Index, 4> offset = table.offset[i];
      const Vector<A, 4> share = table.share[i];
#pragma unroll
      for (int pass = 0; pass < C::passes; ++pass) {
        constexpr int kStep = C::lanes * C::vector;
        const bool there = mine + pass * kStep < WIDTH;
        Packed<T, C::vector> corner[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          if (offset.lane[n] >= 0 && there) corner[n] = load<C::vector>(value + offset.lane[n] + pass * kStep);
        }
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const auto channels = unpacked<A>(corner[n]);
#pragma unroll
          for (int k = 0; k < C::vector; ++k) sum[pass][k] += share.lane[n] * channels.lane[k];
        }
      }
    }
    __syncwarp();
  }

  T* output = static_cast<T*>(problem.output) + row.index * WIDTH;
#pragma unroll
  for (int pass = 0; pass < C::passes; ++pass) {
    const int channel = mine + pass * C::lanes * C::vector;
    Vector<T, C::vector> result;
#pragma unroll
    for (int k = 0; k < C::vector; ++k) narrow(sum[pass][k], &result.lane[k]);
    if (row.there && channel < WIDTH) *reinterpret_cast<Vector<T, C::vector>*>(output + channel) = result;
  }
}

// Sum each of four numbers over the lanes of a row and leave the sums in `target`. The first two steps hand over what the
// other lane will go on with, so that four numbers cost hardly more than one.
template <int LANES, typename A>
__device__ inline void sum_over_lanes(A (&part)[4], int lane, Vector<A, 4>& target) {
  constexpr unsigned all = 0xffffffffu;
  if constexpr (LANES == 1) {
    target = {{part[0], part[1], part[2], part[3]}};
    return;
  }
  const bool odd = lane & 1;
  const A even_pair = __shfl_xor_sync(all, odd ? part[0] : part[2], 1);
  const A odd_pair = __shfl_xor_sync(all, odd ? part[1] : part[3], 1);
  const A one = (odd ? part[2] : part[0]) + even_pair, two = (odd ? part[3] : part[1]) + odd_pair;
  if constexpr (LANES == 2) {
    target.lane[2 * lane] = one;
    target.lane[2 * lane + 1] = two;
    return;
  }
  const bool second = lane & 2;
  A sum = (second ? two : one) + __shfl_xor_sync(all, second ? one : two, 2);
#pragma unroll
  for (int step = 4; step < LANES; step *= 2) sum += __shfl_xor_sync(all, sum, step);
  if (lane < 4) target.lane[(odd ? 2 : 0) + (second ? 1 : 0)] = sum;
}

// Turn the products of the corners with the output's gradient into the gradients of a point's weight and location.
template <typename A, typename P>
__device__ inline void differentiate(
    const Level& level, const Cell<A>& cell, const Vector<A, 4>& dots, P* grad_location, P* grad_weight) {
  const A* dot = dots.lane;
  const A upper_row = dot[0] + cell.right * (dot[1] - dot[0]), lower_row = dot[2] + cell.right * (dot[3] - dot[2]);
  const A along_x = (A(1) - cell.lower) * (dot[1] - dot[0]) + cell.lower * (dot[3] - dot[2]);
  const A along_y = lower_row - upper_row;
  narrow(upper_row + cell.lower * along_y, grad_weight);
  Vector<P, 2> result;
  narrow(cell.weight * static_cast<A>(level.columns) * along_x, &result.lane[0]);
  narrow(cell.weight * static_cast<A>(level.rows) * along_y, &result.lane[1]);
  *reinterpret_cast<Vector<P, 2>*>(grad_location) = result;
}

// Spread the output's gradient over the corners of a point. Where there are no vector additions, neighbouring lanes add to
// neighbouring channels, so that an addition by a warp falls into few sectors of the second-level cache.
template <typename C, int WIDTH, typename A, typename T>
struct Spread {
  static constexpr bool vectors = kVectorAdds && sizeof(A) == 4 && C::vector > 1;
  static constexpr int step = vectors ? C::vector : 1;
  static constexpr int count = (WIDTH / step + C::lanes - 1) / C::lanes;
  Vector<A, step> grad[count];
  int first;

  __device__ Spread(const T* grad_output, bool there, int lane) : first(lane * step) {
#pragma unroll
    for (int n = 0; n < count; ++n) {
      const int channel = first + n * C::lanes * step;
      if (there && channel < WIDTH) grad[n] = unpacked<A>(load<step>(grad_output + channel));
    }
  }

  __device__ void add(A* corner, A share) const {
#pragma unroll
    for (int n = 0; n < count; ++n) {
      const int channel = first + n * C::lanes * step;
      if (channel >= WIDTH) continue;
      if constexpr (vectors) {
        A term[step];
#pragma unroll
        for (int k = 0; k < step; ++k) term[k] = grad[n].lane[k] * share;
        add_all(corner + channel, term);
      } else {
        atomicAdd(corner + channel, grad[n].lane[0] * share);
      }
    }
  }
};

// The gradients of locations and weights are the same every time; that of value is summed in the order in which rows happen
// to arrive.
template <typename T, typename P, int WIDTH, typename Index>
__device__ void backward(const Problem& problem, void* shared) {
  using A = typename SumOf<T>::type;
  using C = Channels<WIDTH, 16 / sizeof(A)>;  // 16 bytes of the gradient, which is what most of the traffic is
  const Row row = this_row<C>(problem, WIDTH);
  const Table<A, Index> table(shared, C::rows, problem.chunk, true);
  const Index stride = static_cast<Index>(problem.heads) * WIDTH;
  const int mine = row.lane * C::vector;
  const T* value = settled(static_cast<const T*>(problem.value) + row.image_and_head + mine);
  A* grad_value = settled(static_cast<A*>(problem.grad_value) + row.image_and_head);
  const T* grad_output = static_cast<const T*>(problem.grad_output) + row.index * WIDTH;

  Vector<A, C::vector> grad[C::passes] = {};
#pragma unroll
  for (int pass = 0; pass < C::passes; ++pass) {
    const int channel = mine + pass * C::lanes * C::vector;
    if (row.there && channel < WIDTH) grad[pass] = unpacked<A>(load<C::vector>(grad_output + channel));
  }
  const Spread<C, WIDTH, A, T> spread(grad_output, row.there, row.lane);

  for (int first = 0; first < problem.points; first += problem.chunk) {
    const int count = min(problem.chunk, problem.points - first);  // also where no row is: its lanes take part in the sums
    describe_all<C::lanes, A, P>(problem, row, first, row.there ? count : 0, stride, table);
    __syncwarp();
    for (int i = 0; i < count; ++i) {
      Vector<Index, 4> offset = {{-1, -1, -1, -1}};
      Vector<A, 4> share = {};
      if (row.there) offset = table.offset[i], share = table.share[i];
      A dot[4] = {};
#pragma unroll
      for (int pass = 0; pass < C::passes; ++pass) {
        constexpr int kStep = C::lanes * C::vector;
        const bool there = mine + pass * kStep < WIDTH;
        Packed<T, C::vector> corner[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          if (offset.lane[n] >= 0 && there) corner[n] = load<C::vector>(value + offset.lane[n] + pass * kStep);
        }
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const auto channels = unpacked<A>(corner[n]);
#pragma unroll
          for (int k = 0; k < C::vector; ++k) dot[n] += grad[pass].lane[k] * channels.lane[k];
        }
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        if (offset.lane[n] >= 0) spread.add(grad_value + offset.lane[n], share.lane[n]);
      }
      sum_over_lanes<C::lanes>(dot, row.lane, table.dots[i]);
    }
    __syncwarp();
    for (int i = row.lane; row.there && i < count; i += C::lanes) {
      const Level& level = level_of(problem, first + i);
      const long long point = row.index * problem.points + first + i;
      const Cell<A> place =
          cell<A>(level, static_cast<const P*>(problem.locations), static_cast<const P*>(problem.weights), point);
      differentiate(
          level, place, table.dots[i], static_cast<P*>(problem.grad_locations) + 2 * point,
          static_cast<P*>(problem.grad_weights) + point);
    }
  }
}

extern "C" __global__ void __launch_bounds__(kMaxThreads, 4) ms_deform_attn_forward(const __grid_constant__ Problem problem) {
  extern __shared__ uint4 shared[];
  forward<MASKDINO_VALUE, MASKDINO_POINT, MASKDINO_WIDTH, MASKDINO_INDEX>(problem, shared);
}

extern "C" __global__ void __launch_bounds__(kMaxThreads, 4) ms_deform_attn_backward(const __grid_constant__ Problem problem) {
  extern __shared__ uint4 shared[];
  backward<MASKDINO_VALUE, MASKDINO_POINT, MASKDINO_WIDTH, MASKDINO_INDEX>(problem, shared);
}

}  // namespace maskdino
