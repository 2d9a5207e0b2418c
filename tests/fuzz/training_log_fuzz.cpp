#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/topology.h"
#include "calibrate/import/training_log.h"
#include "models/error.h"

// Any bytes are a log, a table of paths or a user's mistake; step times are positive and finite.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    std::istringstream stream(text);
    const vitsim::Piece piece = vitsim::read_training_log(stream, "log", "run");
    for (const vitsim::Sample& sample : piece.samples) {
      VITSIM_CHECK(sample.figures().empty(), ==, false);
      for (const double seconds : sample.figures()) {
        VITSIM_CHECK(seconds, >, 0);
        VITSIM_CHECK(seconds, <, 1e15);
      }
    }
  } catch (const vitsim::UserError&) {
  }
  try {
    std::istringstream stream(text);
    vitsim::read_topology(stream, "topo", "topo");
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
