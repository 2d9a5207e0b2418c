#include <algorithm>
#include <cmath>
#include <numeric>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/collective/choice_text.h"
#include "sim/collective/table.h"

namespace vitsim {

namespace {

struct CollectiveArguments {
  std::string kind;
  std::filesystem::path file;
  std::vector<std::string> settings;
  std::string bytes = "8B:1GiB";
  std::string algorithm;
  ResultFiles files;
};

std::int64_t parse_size(const std::string& text) {
  const auto parsed = parse_bytes(text);
  if (!parsed.value) {
    throw UserError(fmt::format("--bytes {}: {}", text, parsed.problem));
  }
  const double bytes = parsed.value->value();
  if (bytes < 0 || bytes > 1e15 || bytes != std::floor(bytes)) {
    throw UserError(fmt::format("--bytes {}: write a whole number of bytes up to 1 PB", text));
  }
  return static_cast<std::int64_t>(bytes);
}

std::pair<std::int64_t, std::int64_t> parse_range(const std::string& text) {
  const auto colon = text.find(':');
  const std::int64_t first = parse_size(text.substr(0, colon));
  return {first, colon == std::string::npos ? first : parse_size(text.substr(colon + 1))};
}

int run_collective(const CollectiveArguments& arguments) {
  std::vector<std::string> problems;
  const auto kind = std::ranges::find(kCollectiveNames, arguments.kind);
  if (kind == kCollectiveNames.end()) {
    problems.push_back(fmt::format("unknown collective {}{}",
                                   in_quotes(arguments.kind),
                                   did_you_mean(arguments.kind, words(kCollectiveNames))));
  }
  const auto chosen = std::ranges::find(kAllReduceNames, arguments.algorithm);
  if (!arguments.algorithm.empty() && chosen == kAllReduceNames.end()) {
    problems.push_back(fmt::format("--algorithm: unknown algorithm {}{}",
                                   in_quotes(arguments.algorithm),
                                   did_you_mean(arguments.algorithm, words(kAllReduceNames))));
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  const auto [first, last] = parse_range(arguments.bytes);
  PredictionInput input{.file = arguments.file, .settings = arguments.settings};
  const ResolvedExperiment resolved = load(input);
  const ResolvedJob& job = resolved.jobs.front();
  const Network& network = *resolved.network;
  std::vector<std::int64_t> ranks(static_cast<std::size_t>(network.world_size()));
  std::iota(ranks.begin(), ranks.end(), std::int64_t{0});
  const Communicator group(network, ranks);
  const AllReduceAlgorithm algorithm =
      arguments.algorithm.empty()
          ? job.training.all_reduce
          : static_cast<AllReduceAlgorithm>(chosen - kAllReduceNames.begin());
  const auto collective = static_cast<CollectiveKind>(kind - kCollectiveNames.begin());
  const std::vector<CollectiveRow> rows = collective_table(
      group, collective, algorithm, first, last, to_ticks(job.collective_overhead));

  std::string text =
      fmt::format("# {} among {} ranks, {}; time of one call, everybody ready at once\n",
                  arguments.kind,
                  ranks.size(),
                  arguments.file.string());
  text += fmt::format("# algorithm: {}; the largest size takes {}\n",
                      name(algorithm),
                      choice_text(group, algorithm, collective, last));
  text += fmt::format(
      "# {:>12}  {:<20}{:>14}{:>12}{:>12}\n", "size", "algorithm", "time", "algbw", "busbw");
  text +=
      fmt::format("# {:>12}  {:<20}{:>14}{:>12}{:>12}\n", "(B)", "", "(us)", "(GB/s)", "(GB/s)");
  nlohmann::json json = {{"schema", "vitsim-collective/1"},
                         {"collective", arguments.kind},
                         {"all_reduce", name(algorithm)},
                         {"ranks", ranks.size()},
                         {"rows", nlohmann::json::array()}};
  for (const CollectiveRow& row : rows) {
    text += fmt::format("  {:>12}  {:<20}{:>14.2f}{:>12.3f}{:>12.3f}\n",
                        row.bytes,
                        name(row.algorithm),
                        row.time.value() * 1e6,
                        row.algbw.value() * 1e-9,
                        row.busbw.value() * 1e-9);
    json["rows"].push_back({{"bytes", row.bytes},
                            {"algorithm", name(row.algorithm)},
                            {"time_s", row.time.value()},
                            {"algbw_bytes_per_s", row.algbw.value()},
                            {"busbw_bytes_per_s", row.busbw.value()}});
  }
  if (arguments.files.any()) {
    arguments.files.write(json);
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print("{}", text);
  }
  return 0;
}

}  // namespace

void add_collective_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "collective", "Time a collective by size on a cluster, in the columns of nccl-tests");
  auto arguments = std::make_shared<CollectiveArguments>();
  command
      ->add_option("COLLECTIVE",
                   arguments->kind,
                   fmt::format("One of {}", fmt::join(kCollectiveNames, ", ")))
      ->required();
  command->add_option("FILE", arguments->file, "Cluster file")->required();
  command->add_option("--bytes", arguments->bytes, "One size, or first:last, doubling")
      ->capture_default_str();
  command->add_option(
      "--algorithm",
      arguments->algorithm,
      fmt::format("One of {}; default: the file's training.all_reduce; auto and nccl choose "
                  "as NCCL does between GPUs",
                  fmt::join(kAllReduceNames, ", ")));
  command->add_option("--set", arguments->settings, "Set a key of the file")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  add_result_files(*command, arguments->files, "rows");
  command->footer(
      "Example: vitsim collective all-reduce configs/cluster/tesla-5gpu.json --bytes 8B:1GiB "
      "--algorithm ring");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_collective(*arguments); }; });
}

}  // namespace vitsim
