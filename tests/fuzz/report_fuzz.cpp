#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "models/error.h"
#include "models/report/report.h"

// Any bytes are a report or a user's mistake; a report is written as it was read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto once = vitsim::to_json(vitsim::report_from_text(text, "report.json"));
    VITSIM_CHECK(vitsim::to_json(vitsim::report_from_json(once, "again.json")) == once, ==, true);
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
