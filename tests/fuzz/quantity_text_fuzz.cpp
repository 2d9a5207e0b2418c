#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/document/quantity_text.h"
#include "models/error.h"

namespace {

template <class Q>
void check(const vitsim::ParsedQuantity<Q>& parsed) {
  VITSIM_CHECK(parsed.value.has_value(), ==, parsed.problem.empty());
  if (parsed.value) {
    VITSIM_CHECK(std::isfinite(parsed.value->value()), ==, true);
    VITSIM_CHECK(parsed.value->value(), >=, 0);
    VITSIM_CHECK(vitsim::human(*parsed.value).empty(), ==, false);
  }
}

}  // namespace

// Any bytes are a quantity or have a problem; a quantity is finite, not negative, and prints.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(vitsim::parse_seconds(text));
  check(vitsim::parse_bandwidth(text));
  check(vitsim::parse_bytes(text));
  return 0;
}
