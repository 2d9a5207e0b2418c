#include "trainer/choose_device.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

void share_cores(const MpiSession& session) {
  if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    at::set_num_threads(std::max(1, cores / session.local_size()));
  }
}

std::unique_ptr<Device> choose_device(const std::string& wish, const MpiSession& session) {
  if (wish != "cpu") {
    if (auto device = open_cuda_device(session.local_rank(), session.local_size())) {
      return device;
    }
    if (wish == "cuda") {
      throw UserError(fmt::format(
          "--device cuda: {} has no usable GPU, or vitsim-cuda.so is not beside vitsim-trainer",
          session.host()));
    }
  }
  return make_cpu_device();
}

}  // namespace vitsim
