// What engine/csrc/ms_deform_attn_ptx.cuh offers, in C++.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace maskdino {

struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

inline float widened(Half value) {
  const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  float result = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                 : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                 : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return value.bits & 0x8000 ? -result : result;
}
inline float widened(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

template <typename T>
inline void widened(unsigned pair, T, float& first, float& second) {
  first = widened(T{static_cast<unsigned short>(pair)});
  second = widened(T{static_cast<unsigned short>(pair >> 16)});
}

inline void narrow(float value, Half* result) {
  const unsigned short sign = std::signbit(value) ? 0x8000 : 0;
  const float size = std::fabs(value);
  if (size != size) {
    result->bits = 0x7fff;
    return;
  }
  int exponent;
  std::frexp(size, &exponent);
  const int last = size < 0x1p-14f ? -24 : exponent - 11;  // the exponent of the last bit that is kept
  const float kept = std::nearbyint(std::ldexp(size, -last));
  if (!(size < INFINITY) || std::ldexp(kept, last) >= 65536.0f) {
    result->bits = sign | 0x7c00;
  } else if (last == -24) {
    result->bits = sign | static_cast<unsigned short>(kept);
  } else {  // a carry out of the fraction falls into the exponent
    result->bits = static_cast<unsigned short>(sign + ((exponent + 14) << 10) + static_cast<int>(kept - 1024.0f));
  }
}
inline void narrow(float value, BFloat16* result) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  result->bits = value != value ? 0x7fc0 : static_cast<unsigned short>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T>
inline T* settled(T* address) {
  return address;
}

#ifdef ON_HOST_VECTOR_ADDS
constexpr bool kVectorAdds = true;
template <int N>
void add_all(float* target, const float (&term)[N]) {
  static_assert(N == 2 || N == 4, "there is no such instruction");
  if (reinterpret_cast<uintptr_t>(target) % (N * sizeof(float)) != 0) std::abort();
  for (int i = 0; i < N; ++i) target[i] += term[i];
}
#else
constexpr bool kVectorAdds = false;
#endif

}  // namespace maskdino
