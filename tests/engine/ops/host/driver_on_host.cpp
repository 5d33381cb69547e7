// A CUDA driver that runs the attention kernels on the CPU: what engine/ops/cuda_driver.py calls, in place of libcuda.so.1.
// Built for one MASKDINO_VALUE, MASKDINO_POINT, MASKDINO_WIDTH and MASKDINO_INDEX; it takes a compiled kernel's file, checks
// that it is one, and runs what it was built with.
#include "cuda_on_host.h"
#include "ptx_on_host.h"

#include "ms_deform_attn.cuh"

#include <dlfcn.h>

#include <string>

namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kInvalidImage = 200, kInvalidContext = 201, kNotFound = 500;
int primary;  // its address is the context
thread_local std::vector<void*> contexts;

}  // namespace

#define DRIVER extern "C" __attribute__((visibility("default"))) int

DRIVER cuInit(unsigned) { return kSuccess; }
DRIVER cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
DRIVER cuDeviceGet(int* device, int) { return *device = 0, kSuccess; }
DRIVER cuDevicePrimaryCtxRetain(void** context, int) { return *context = &primary, kSuccess; }
DRIVER cuCtxGetCurrent(void** context) { return *context = contexts.empty() ? nullptr : contexts.back(), kSuccess; }
DRIVER cuCtxPushCurrent(void* context) { return contexts.push_back(context), kSuccess; }

DRIVER cuCtxPopCurrent(void** context) {
  if (contexts.empty()) return kInvalidContext;
  *context = contexts.back();
  contexts.pop_back();
  return kSuccess;
}

DRIVER cuModuleLoadData(void** module, const void* image) {
  if (contexts.empty()) return kInvalidContext;
  if (std::memcmp(image, "\177ELF", 4) != 0) return kInvalidImage;
  *module = &primary;
  return kSuccess;
}

DRIVER cuModuleGetFunction(void** function, void* module, const char* name) {
  using Kernel = void (*)(maskdino::Problem);
  const Kernel kernel = std::string(name) == "ms_deform_attn_forward"    ? Kernel(maskdino::ms_deform_attn_forward)
                        : std::string(name) == "ms_deform_attn_backward" ? Kernel(maskdino::ms_deform_attn_backward)
                                                                         : nullptr;
  *function = reinterpret_cast<void*>(kernel);
  return module == &primary && kernel != nullptr ? kSuccess : kNotFound;
}

DRIVER cuLaunchKernel(
    void* function, unsigned blocks, unsigned blocks_y, unsigned blocks_z, unsigned threads, unsigned threads_y,
    unsigned threads_z, unsigned shared_bytes, void* stream, void** parameters, void** extra) {
  if (contexts.empty() || contexts.back() != &primary) return kInvalidContext;
  const bool flat = blocks_y == 1 && blocks_z == 1 && threads_y == 1 && threads_z == 1;
  const bool known = extra == nullptr && stream == reinterpret_cast<void*>(0x5a);
  if (!flat || !known || blocks == 0 || threads > 1024) return kInvalidValue;
  const auto problem = *static_cast<const maskdino::Problem*>(parameters[0]);
  const auto kernel = reinterpret_cast<void (*)(maskdino::Problem)>(function);
  on_host::launch(blocks, threads, shared_bytes, 0, [&] { kernel(problem); });
  return kSuccess;
}

// The bindings ask for every function of the driver by name.
DRIVER cuGetProcAddress_v2(const char* name, void** function, int, unsigned long long, int*) {
  *function = dlsym(RTLD_DEFAULT, name);
  if (*function == nullptr) {
    static void* self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    *function = dlsym(self, name);
  }
  return *function != nullptr ? kSuccess : kNotFound;
}
DRIVER cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
