#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/deepspeed_log.h"
#include "models/error.h"

// Any bytes are a log or a user's mistake; what is read can be written and read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream stream(std::string(reinterpret_cast<const char*>(data), size));
  try {
    const std::vector<vitsim::Piece> pieces = vitsim::read_deepspeed_log(stream, "log", "run");
    const vitsim::Piece& piece = pieces.front();
    for (const vitsim::Sample& sample : piece.samples) {
      VITSIM_CHECK(sample.figures().empty(), ==, false);
      VITSIM_CHECK(sample.warm_up, <=, std::ssize(sample.figures()));
    }
    vitsim::Measurement measurement{.device = "imported"};
    measurement.samples = piece.samples;
    measurement.environment = piece.environment;
    measurement.warnings = piece.warnings;
    vitsim::measurement_from_text(vitsim::to_text(measurement), "measurement");
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
