#include <cmath>
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "calibrate/import/nccl_tests.h"
#include "models/error.h"

namespace {

void check(const vitsim::Piece& piece) {
  for (const vitsim::Sample& sample : piece.samples) {
    const auto* series = sample.as<vitsim::CollectiveSeries>();
    VITSIM_CHECK(series == nullptr, ==, false);
    VITSIM_CHECK(series->bytes, >, 0);
    VITSIM_CHECK(series->ranks.value_or(2), >, 1);
    for (const double seconds : sample.figures()) {
      VITSIM_CHECK(seconds, >, 0);
      VITSIM_CHECK(std::isfinite(seconds), ==, true);
    }
  }
}

}  // namespace

// Any bytes are a table or a user's mistake; times are positive, and no series is of one rank.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const auto read : {vitsim::read_nccl_tests, vitsim::read_nccl_json, vitsim::read_nccl_csv}) {
    std::istringstream stream(text);
    try {
      check(read(stream, "text", "name", std::nullopt));
    } catch (const vitsim::UserError&) {
    }
  }
  return 0;
}
