#include <cstddef>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "models/document/relaxed_json.h"
#include "models/error.h"

// Strict JSON means the same; what is rewritten once stays as it is.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using Json = nlohmann::json;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string strict = vitsim::strict_json(text);
  const Json before = Json::parse(text, nullptr, false);
  const Json after = Json::parse(strict, nullptr, false);
  if (!before.is_discarded()) {
    VITSIM_CHECK(before == after, ==, true);
  }
  if (!after.is_discarded()) {
    VITSIM_CHECK(Json::parse(vitsim::strict_json(strict), nullptr, false) == after, ==, true);
  }
  return 0;
}
