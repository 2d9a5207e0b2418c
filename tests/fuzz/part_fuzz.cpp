#include <cstddef>
#include <cstdint>
#include <string_view>

#include "calibrate/profile/profile.h"
#include "models/error.h"

// Any bytes are a profile, a data sheet or a user's mistake; a profile is written as it was read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const vitsim::Part part = vitsim::part_from_text(text, "part.json");
    if (const auto* const gpu = std::get_if<vitsim::GpuProfile>(&part)) {
      const std::string once = vitsim::profile_text(*gpu);
      const auto again = std::get<vitsim::GpuProfile>(vitsim::part_from_text(once, "again.json"));
      VITSIM_CHECK(vitsim::profile_text(again) == once, ==, true);
    } else if (const auto* const link = std::get_if<vitsim::LinkProfile>(&part)) {
      const std::string once = vitsim::profile_text(*link);
      const auto again = std::get<vitsim::LinkProfile>(vitsim::part_from_text(once, "again.json"));
      VITSIM_CHECK(vitsim::profile_text(again) == once, ==, true);
      VITSIM_CHECK(link->at(vitsim::Bytes(12345)).bandwidth.value(), >, 0);
      for (const vitsim::CollectiveTimes& times : link->collectives) {
        VITSIM_CHECK(times.at(vitsim::Bytes(12345)).value(), >=, 0);
      }
    }
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
