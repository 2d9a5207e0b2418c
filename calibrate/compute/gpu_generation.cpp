#include "calibrate/compute/gpu_generation.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace vitsim {

int gpu_generation(const GpuSheet& sheet) {
  constexpr std::array<std::string_view, 6> kBeforeBlackwell = {
      "pascal", "volta", "turing", "ampere", "ada", "hopper"};
  return static_cast<int>(std::ranges::find(kBeforeBlackwell, sheet.architecture) -
                          kBeforeBlackwell.begin());
}

}  // namespace vitsim
