#include "sim/cli/command.h"

#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <oneapi/tbb/global_control.h>

#include "models/atomic_file.h"
#include "models/error.h"

namespace vitsim {

struct ThreadLimit::Control {
  oneapi::tbb::global_control parallelism;
};

ThreadLimit::ThreadLimit(int threads)
    : control_(threads > 0 ? std::make_unique<Control>(Control{oneapi::tbb::global_control(
                                 oneapi::tbb::global_control::max_allowed_parallelism,
                                 static_cast<std::size_t>(threads))})
                           : nullptr) {}

ThreadLimit::~ThreadLimit() = default;

std::vector<Override> PredictionInput::overrides() const {
  std::vector<Override> result;
  for (const std::string& setting : settings) {
    const auto equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UserError(fmt::format(
          "--set {}: write KEY=VALUE, e.g. --set training.micro_batch_per_gpu=32", setting));
    }
    result.push_back({setting.substr(0, equals), setting.substr(equals + 1)});
  }
  return result;
}

void add_prediction_input(CLI::App& command, PredictionInput& input) {
  command
      .add_option("FILE", input.file, "Cluster and training, e.g. configs/cluster/tesla-5gpu.json")
      ->required();
  command.add_option("--set", input.settings, "Set a key of the file, e.g. training.epochs=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command.add_option("--seed", input.seed, "Seed of the replicates")->capture_default_str();
  command.add_option("--replicates", input.replicates, "Real runs to sample for the interval")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command.add_option("--threads", input.threads, "Threads to use; 0 means all cores")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
}

void write_output(const std::string& target, std::string_view text) {
  if (target == "-") {
    fmt::print("{}", text);
    return;
  }
  write_file_atomically(target, text);
}

}  // namespace vitsim
