#pragma once

#include <string>

#include "calibrate/measurement/measurement.h"

namespace vitsim::test {

/// The least that a profile of `gpu` can be fitted to, measured on `device`.
inline Measurement small_measurement(const std::string& gpu, const std::string& device) {
  Measurement measurement{.device = gpu, .devices = {{gpu, device}}};
  measurement.samples.push_back({
      .what = "train_step",
      .text = {  {"gpu", gpu},{"precision", "fp32"}},
      .number = {{"layers", 12},
               {"width", 192},
               {"heads", 3},
               {"mlp", 768},
               {"patch", 16},
               {"image_size", 224},
               {"batch", 8}},
      .seconds = {           0.5                      }
  });
  return measurement;
}

}  // namespace vitsim::test
