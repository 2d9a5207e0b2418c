#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/error.h"
#include "models/report/timeline.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/cli/progress_meter.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

struct PredictArguments {
  PredictionInput input;
  ResultFiles files;
  std::filesystem::path trace;
  std::int64_t trace_steps = 10;
  std::string ranks = "some";
};

int run_predict(const PredictArguments& arguments) {
  if (arguments.files.take_standard_output() && arguments.trace == "-") {
    throw UserError(
        "--trace - and --json - or --html - would mix on standard output: name a file for one");
  }
  const ThreadLimit limit(arguments.input.threads);
  const ResolvedExperiment resolved = load(arguments.input);
  ProgressMeter meter("sampling runs");
  const PredictOptions options{.replicates = arguments.input.replicates,
                               .seed = arguments.input.seed,
                               .all_ranks = arguments.ranks == "all",
                               .picture = arguments.files.any(),
                               .progress = meter.progress()};
  const std::vector<Report> reports = predict_jobs(resolved, options, arguments.files.any());
  if (!arguments.trace.empty()) {
    write_perfetto(arguments.trace, trace(resolved, arguments.trace_steps));
  }
  if (arguments.files.any()) {
    nlohmann::json json = to_json(reports.front());
    if (reports.size() > 1) {
      json["jobs"] = nlohmann::json::array();
      for (const Report& report : reports) {
        json["jobs"].push_back(to_json(report));
      }
    }
    arguments.files.write(json);
  }
  if (!arguments.files.take_standard_output() && arguments.trace != "-") {
    for (std::size_t job = 0; job < reports.size(); ++job) {
      if (reports.size() > 1) {
        const std::string& name = resolved.experiment.jobs[job].name;
        fmt::print("{}=== {} ===\n",
                   job == 0 ? "" : "\n",
                   name.empty() ? fmt::format("job {}", job) : name);
      }
      fmt::print("{}", report_text(reports[job], resolved.jobs[job], terminal_style()));
    }
  }
  return 0;
}

}  // namespace

void add_predict_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "predict", "Predict how long a training takes, with its interval, and name the straggler");
  auto arguments = std::make_shared<PredictArguments>();
  add_prediction_input(*command, arguments->input);
  add_result_files(*command, arguments->files, "report");
  command
      ->add_option("--trace",
                   arguments->trace,
                   "Write a timeline of the first steps for ui.perfetto.dev; - for standard output")
      ->type_name("FILE");
  whole_number(
      *command->add_option("--trace-steps", arguments->trace_steps, "Steps in the timeline")
           ->capture_default_str(),
      1,
      100'000);
  command
      ->add_option("--ranks",
                   arguments->ranks,
                   fmt::format("In the JSON: all ranks, or none where there are more than {}",
                               kMostListedRanks))
      ->check(CLI::IsMember({"some", "all"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  vitsim predict configs/cluster/tesla-5gpu.json --set training.epochs=3\n"
      "  vitsim predict configs/cluster/tesla-5gpu.json --html report.html");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_predict(*arguments); }; });
}

}  // namespace vitsim
