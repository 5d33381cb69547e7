// What the CUDA kernels need beyond C++: half precision and vector additions in global memory. Written in PTX because the
// toolkit's headers (cuda_fp16.h and the like) are not on a user's machine.
#pragma once

namespace maskdino {

// IEEE half precision, and the upper half of a float32.
struct Half {
  unsigned short bits;
};
struct BFloat16 {
  unsigned short bits;
};

__device__ inline float widened(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
__device__ inline float widened(BFloat16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }

// Both of a pair at once, the first in the lower bits: picking them out one by one costs more than the conversion.
__device__ inline void widened(unsigned pair, Half, float& first, float& second) {
  asm("{ .reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
      : "=f"(first), "=f"(second)
      : "r"(pair));
}
__device__ inline void widened(unsigned pair, BFloat16, float& first, float& second) {
  first = __uint_as_float(pair << 16);
  second = __uint_as_float(pair & 0xffff0000u);
}

__device__ inline void narrow(float value, Half* result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result->bits) : "f"(value));
}
__device__ inline void narrow(float value, BFloat16* result) {
  // to nearest, ties to even (cvt.rn.bf16.f32 begins with sm_80); rounding could carry a NaN's payload into an infinity
  const unsigned bits = __float_as_uint(value);
  result->bits = value != value ? 0x7fc0 : static_cast<unsigned short>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Return the same address, but keep the compiler from taking it apart: it would add up its terms again at each use.
template <typename T>
__device__ inline T* settled(T* address) {
  asm("" : "+l"(address));
  return address;
}

// From sm_90 on one instruction adds up to four neighbouring floats.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool kVectorAdds = true;

__device__ inline void add_all(float* target, const float (&term)[4]) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(target)), "f"(term[0]),
               "f"(term[1]), "f"(term[2]), "f"(term[3])
               : "memory");
}
__device__ inline void add_all(float* target, const float (&term)[2]) {
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(target)), "f"(term[0]), "f"(term[1])
               : "memory");
}
#else
constexpr bool kVectorAdds = false;
#endif

}  // namespace maskdino
