// A pack: a few numbers of one type that are computed on together, one vector register wide.
//
// GCC and Clang have vector types; elsewhere a pack is an array whose short loops the compiler may vectorise. This file is
// included once for every instruction set, each time inside a namespace of its own.

template <typename A, int LANES>
struct PortablePack {
  A lane[LANES];
  friend PortablePack operator+(PortablePack a, const PortablePack& b) {
    for (int i = 0; i < LANES; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  friend PortablePack operator*(PortablePack a, const PortablePack& b) {
    for (int i = 0; i < LANES; ++i) a.lane[i] *= b.lane[i];
    return a;
  }
  friend PortablePack operator*(PortablePack a, A b) {
    for (int i = 0; i < LANES; ++i) a.lane[i] *= b;
    return a;
  }
};

#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 12)) && !defined(MASKDINO_PORTABLE_PACKS)
#define MASKDINO_VECTOR_TYPES 1
template <typename A, int LANES>
struct PackOf {
  typedef A type __attribute__((vector_size(LANES * sizeof(A))));
};
#else
template <typename A, int LANES>
struct PackOf {
  using type = PortablePack<A, LANES>;
};
#endif

// The specialisations for one lane are the tail of head widths that no pack divides.
template <typename A>
struct PackOf<A, 1> {
  using type = A;
};

template <typename A, int LANES>
using Pack = typename PackOf<A, LANES>::type;

inline float widened(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
inline float widened(float value) { return value; }
inline double widened(double value) { return value; }

inline void narrow(float value, BFloat16* result) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  // to nearest, ties to even; rounding could carry the payload of a NaN into an infinity
  result->bits = value != value ? uint16_t{0x7fc0} : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline void narrow(float value, float* result) { *result = value; }
inline void narrow(double value, double* result) { *result = value; }

template <typename A, int LANES>
inline Pack<A, LANES> load(const A* source) {
  Pack<A, LANES> pack;
  std::memcpy(&pack, source, sizeof(pack));
  return pack;
}

template <typename A, int LANES>
inline Pack<A, LANES> load(const BFloat16* source) {
#ifdef MASKDINO_VECTOR_TYPES
  if constexpr (LANES > 1) {
    Pack<uint16_t, LANES> halves;
    std::memcpy(&halves, source, sizeof(halves));
    const Pack<uint32_t, LANES> bits = __builtin_convertvector(halves, Pack<uint32_t, LANES>) << 16;
    Pack<A, LANES> pack;
    std::memcpy(&pack, &bits, sizeof(pack));
    return pack;
  }
#endif
  A lanes[LANES];
  for (int i = 0; i < LANES; ++i) lanes[i] = widened(source[i]);
  return load<A, LANES>(lanes);
}

template <typename A, int LANES, typename T>
inline void store(const Pack<A, LANES>& pack, T* target) {
  if constexpr (std::is_same_v<A, T>) {
    std::memcpy(target, &pack, sizeof(pack));
  } else {
    A lanes[LANES];
    std::memcpy(lanes, &pack, sizeof(pack));
    for (int i = 0; i < LANES; ++i) narrow(lanes[i], target + i);
  }
}

// Add the upper half of the lanes to the lower half.
template <typename A, int LANES, std::size_t... LANE>
inline Pack<A, LANES / 2> halved(const Pack<A, LANES>& pack, std::index_sequence<LANE...>) {
#ifdef MASKDINO_VECTOR_TYPES
  if constexpr (LANES > 2) {
    return __builtin_shufflevector(pack, pack, LANE...) + __builtin_shufflevector(pack, pack, (LANE + LANES / 2)...);
  }
#endif
  A lanes[LANES];
  std::memcpy(lanes, &pack, sizeof(pack));
  return load<A, LANES / 2>(lanes) + load<A, LANES / 2>(lanes + LANES / 2);
}

// Write the sum over the lanes of each of four packs.
template <typename A, int LANES>
inline void sums(
    const Pack<A, LANES>& a, const Pack<A, LANES>& b, const Pack<A, LANES>& c, const Pack<A, LANES>& d, A* result) {
  if constexpr (LANES == 1) {
    result[0] = a, result[1] = b, result[2] = c, result[3] = d;
    return;
#ifdef MASKDINO_VECTOR_TYPES
  } else if constexpr (LANES == 4) {
    // transposed by twos: (a0+a2, b0+b2, a1+a3, b1+b3), then the same of c and d
    const auto ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const auto cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    store<A, 4>(__builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7), result);
#endif
  } else {
    constexpr std::make_index_sequence<LANES / 2> half;
    sums<A, LANES / 2>(
        halved<A, LANES>(a, half), halved<A, LANES>(b, half), halved<A, LANES>(c, half), halved<A, LANES>(d, half), result);
  }
}
