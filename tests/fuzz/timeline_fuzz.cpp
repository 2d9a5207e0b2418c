#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/error.h"
#include "models/report/timeline.h"

// Any bytes are lines of spans or a user's mistake.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const vitsim::Span& span : vitsim::timeline_from_text(text, "timeline.jsonl").spans) {
      VITSIM_CHECK(span.end_ns, >=, span.begin_ns);
    }
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
