// Neighbouring channels: as they lie in memory, as the numbers that sums are computed in, and how they lie over lanes.
#pragma once

namespace maskdino {

template <typename T>
struct SumOf {
  using type = float;
};
template <>
struct SumOf<double> {
  using type = double;
};

__device__ inline float widened(float value) { return value; }
__device__ inline double widened(double value) { return value; }
__device__ inline void narrow(float value, float* result) { *result = value; }
__device__ inline void narrow(double value, double* result) { *result = value; }

template <typename T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Vector {
  T lane[N];
};

template <int BYTES>
struct Word;
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

// N neighbours as they lie in memory; noughts at first.
template <typename T, int N>
struct Packed {
  typename Word<N * sizeof(T)>::type word = {};
};

// Read N neighbours with one instruction, through the cache for data that nobody writes.
template <int N, typename T>
__device__ inline Packed<T, N> load(const T* source) {
  return {__ldg(reinterpret_cast<const typename Word<N * sizeof(T)>::type*>(source))};
}

template <typename A, typename T, int N>
__device__ inline Vector<A, N> unpacked(const Packed<T, N>& packed) {
  Vector<A, N> vector;
  if constexpr (sizeof(T) == 2 && N > 1) {
    unsigned pairs[N / 2];
    memcpy(pairs, &packed, sizeof(pairs));
#pragma unroll
    for (int i = 0; i < N; i += 2) widened(pairs[i / 2], T{}, vector.lane[i], vector.lane[i + 1]);
  } else {
    T elements[N];
    memcpy(elements, &packed, sizeof(elements));
#pragma unroll
    for (int i = 0; i < N; ++i) vector.lane[i] = widened(elements[i]);
  }
  return vector;
}

__device__ constexpr int vector_for(int width, int most) { return width % most == 0 ? most : vector_for(width, most / 2); }

__device__ constexpr int lanes_for(int vectors, int lanes = 1) {
  return lanes == 32 || lanes >= vectors ? lanes : lanes_for(vectors, 2 * lanes);
}

// How the channels of a row lie over lanes: each lane has `vector` neighbouring channels at a time, MOST where that divides
// the width.
template <int WIDTH, int MOST>
struct Channels {
  static constexpr int vector = vector_for(WIDTH, MOST);
  static constexpr int lanes = lanes_for(WIDTH / vector);
  static constexpr int passes = (WIDTH / vector + lanes - 1) / lanes;
  static constexpr int rows = 32 / lanes;  // of a warp
};

}  // namespace maskdino
