#include "sim/cli/command.h"

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <oneapi/tbb/global_control.h>
#include <unistd.h>

#include "models/document/atomic_file.h"
#include "models/error.h"
#include "models/experiment/override.h"
#include "sim/render/html/page.h"

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
  return parse_overrides(settings);
}

void whole_number(CLI::Option& option, std::int64_t least, std::int64_t most) {
  option.check(CLI::Validator(
      [=](const std::string& text) {
        std::int64_t value = 0;
        const char* end = text.data() + text.size();
        const auto [rest, problem] = std::from_chars(text.data(), end, value);
        const bool good = problem == std::errc() && rest == end && value >= least && value <= most;
        return good ? std::string()
                    : fmt::format("{} is not a whole number from {} to {}", text, least, most);
      },
      std::string()));
  option.type_name("N");
}

void add_prediction_input(CLI::App& command, PredictionInput& input) {
  command
      .add_option(
          "FILE",
          input.file,
          "Cluster and training, e.g. configs/cluster/tesla-5gpu.json; - for standard input")
      ->required();
  command.add_option("--set", input.settings, "Set a key of the file, e.g. training.epochs=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  whole_number(*command.add_option("--seed", input.seed, "Seed of the random numbers")
                    ->capture_default_str(),
               0,
               std::numeric_limits<std::int64_t>::max());
  whole_number(
      *command
           .add_option("--replicates", input.replicates, "Runs to draw for the prediction interval")
           ->capture_default_str(),
      1,
      1'000'000);
  whole_number(*command.add_option("--threads", input.threads, "Threads to use; 0 means all cores")
                    ->capture_default_str(),
               0,
               4096);
}

void add_tolerance(CLI::App& command, std::string& tolerance) {
  command
      .add_option("--tolerance",
                  tolerance,
                  "Exit 1 where a figure differs by more; phases and waits are compared with the "
                  "whole step")
      ->type_name("SHARE")
      ->capture_default_str();
}

std::string read_text(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw UserError(fmt::format("{}: cannot be read", file.string()));
  }
  std::ostringstream text;
  text << stream.rdbuf();
  return std::move(text).str();
}

TextStyle terminal_style() {
  const auto given = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string_view(value == nullptr ? "" : value);
  };
  return {.colours = isatty(STDOUT_FILENO) == 1 && given("NO_COLOR").empty() &&
                     !given("TERM").empty() && given("TERM") != "dumb"};
}

void write_output(const std::string& target, std::string_view text) {
  if (target == "-") {
    fmt::print("{}", text);
    return;
  }
  write_file_atomically(target, text);
}

void ResultFiles::write(const nlohmann::json& result) const {
  if (json == "-" && html == "-") {
    throw UserError("--json and --html both write to standard output: name a file for one of them");
  }
  // The page first: where it cannot be made, nothing is written.
  const std::string page = html.empty() ? std::string() : html_page(result, "the result");
  if (!json.empty()) {
    write_output(json, result.dump(2) + "\n");
  }
  if (!html.empty()) {
    write_output(html, page);
  }
}

void add_result_files(CLI::App& command, ResultFiles& files, const std::string& result) {
  command
      .add_option(
          "--json", files.json, fmt::format("Write the {} as JSON; - for standard output", result))
      ->type_name("FILE");
  command
      .add_option("--html", files.html, fmt::format("Write the {} as a page for browsers", result))
      ->type_name("FILE");
}

}  // namespace vitsim
