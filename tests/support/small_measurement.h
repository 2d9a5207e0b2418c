#pragma once

#include <string>

#include "calibrate/measurement/measurement.h"

namespace vitsim::test {

/// The least that a profile of `gpu` can be fitted to, measured on `device`.
inline Measurement small_measurement(const std::string& gpu, const std::string& device) {
  Measurement measurement{.device = gpu, .devices = {{gpu, device}}};
  measurement.samples.push_back({
      .series =
          PassSeries{.gpu = gpu, .model = *vit_variant("vit-ti-16"), .batch = 8, .seconds = {0.5}},
  });
  return measurement;
}

}  // namespace vitsim::test
