#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/error.h"
#include "models/experiment/deepspeed_config.h"

// Any bytes are a DeepSpeed configuration or a user's mistake; a right batch triple is
// positive, or left to the training section by "auto".
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    vitsim::Problems problems;
    std::vector<std::string> warnings;
    const auto config = vitsim::deepspeed_config_from_text(text, "ds.json", 4, problems, warnings);
    problems.throw_if_any();
    if (config.micro_batch) {
      VITSIM_CHECK(config.micro_batch->value, >=, 1);
    } else {
      VITSIM_CHECK(config.open_micro_batch.has_value(), ==, true);  // "auto"
    }
    if (config.accumulation) {
      VITSIM_CHECK(config.accumulation->value, >=, 1);
    }
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
