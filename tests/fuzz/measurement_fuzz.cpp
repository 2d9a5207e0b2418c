#include <cstddef>
#include <cstdint>
#include <string_view>

#include "calibrate/measurement/measurement.h"
#include "models/error.h"

// Any bytes are a measurement or a user's mistake; what is read is written as it was.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const vitsim::Measurement measurement = vitsim::measurement_from_text(text, "measurement");
    const std::string once = vitsim::to_text(measurement);
    VITSIM_CHECK(vitsim::to_text(vitsim::measurement_from_text(once, "again")) == once, ==, true);
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
