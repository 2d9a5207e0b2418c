#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/nccl_tests.h"
#include "models/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream stream(std::string(reinterpret_cast<const char*>(data), size));
  try {
    for (const vitsim::Sample& sample : vitsim::read_nccl_tests(stream, "text", "name").samples) {
      for (const double seconds : sample.figures()) {
        VITSIM_CHECK(seconds, >, 0);
      }
    }
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
