#include <filesystem>

#include <dlfcn.h>

#include "trainer/device.h"

namespace vitsim {

std::unique_ptr<Device> open_cuda_device(int local_rank, int local_size) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto file = self.parent_path() / "vitsim-cuda.so";
  // Its libraries register their kernels with LibTorch for good: the plug-in is never unloaded.
  void* plugin = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (plugin == nullptr) {
    return nullptr;
  }
  auto* open = reinterpret_cast<OpenCudaDevice*>(dlsym(plugin, kOpenCudaDevice));
  return open == nullptr ? nullptr : std::unique_ptr<Device>(open(local_rank, local_size));
}

}  // namespace vitsim
