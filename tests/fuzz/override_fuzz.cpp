#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/error.h"
#include "models/experiment/experiment.h"

namespace {

constexpr std::string_view kFile = R"({"cluster": {"nodes": [
  {"name": "old", "gpus": ["tesla-p4"]}, {"name": "box", "count": 3, "gpus": ["rtx-3070"]}],
  "network": {"bandwidth": "10Gbps", "latency": "50us"}},
  "training": {"model": "vit-b-16", "dataset": {"name": "cifar10"}, "micro_batch_per_gpu": 16}})";

}  // namespace

// Any `key=value` lines, as --set takes them, change a good file or are a user's mistake.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<vitsim::Override> overrides;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto sign = line.find('=');
    if (sign != std::string_view::npos) {
      overrides.push_back({std::string(line.substr(0, sign)), std::string(line.substr(sign + 1))});
    }
  }
  try {
    (void)vitsim::experiment_from_text(kFile, "cluster.json", overrides);
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
