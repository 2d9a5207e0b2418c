#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <oneapi/tbb/parallel_for.h>

#include "models/document/quantity_text.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/predict/subset.h"
#include "sim/render/report_text.h"

namespace vitsim {

namespace {

struct ScaleArguments {
  PredictionInput input;
  std::vector<std::int64_t> gpus;
  bool weak = false;
  bool strong = false;
  bool fastest_first = false;
  std::string json;
};

int run_scale(const ScaleArguments& arguments) {
  const ThreadLimit limit(arguments.input.threads);
  Experiment experiment = read_input(arguments.input);
  const ProfileSet profiles = load_profiles(experiment, ProfileLibrary(experiment.profiles));
  if (arguments.fastest_first) {
    experiment = fastest_first(experiment, profiles);
  }
  std::vector<std::int64_t> counts = arguments.gpus;
  if (counts.empty()) {
    // A model that is split needs so many ranks at least.
    for (std::int64_t n = experiment.training.parallelism.model_ranks();
         n < experiment.cluster.world_size();
         n *= 2) {
      counts.push_back(n);
    }
    counts.push_back(experiment.cluster.world_size());
  }
  std::vector<Report> reports(counts.size());
  std::vector<std::string> last_gpu(counts.size());
  const PredictOptions options{.replicates = arguments.input.replicates,
                               .seed = arguments.input.seed};
  oneapi::tbb::parallel_for(std::size_t{0}, counts.size(), [&](std::size_t i) {
    const ResolvedExperiment part =
        resolve(first_ranks(experiment, counts[i], arguments.weak), profiles);
    reports[i] = predict_jobs(part, options, true).front();
    last_gpu[i] = part.jobs.front().classes[part.jobs.front().class_of.back()].gpu;
  });

  // Speed-up against the first row, in images per second: weak scaling grows the work.
  nlohmann::json rows = nlohmann::json::array();
  std::string text = fmt::format("{} scaling of {}, {} images per epoch on {} GPUs\n\n",
                                 arguments.weak ? "Weak" : "Strong",
                                 arguments.input.file.string(),
                                 reports.back().samples_per_epoch,
                                 counts.back());
  for (const std::string& warning : reports.back().warnings) {
    text.insert(0, fmt::format("Note: {}\n", warning));
  }
  text += fmt::format("{:>5}  {:<20}{:>14}  {:<28}{:>10}{:>10}{:>12}{:>10}\n",
                      "GPUs",
                      "last added",
                      "epoch",
                      "epoch, 90% interval",
                      "images/s",
                      "speed-up",
                      "efficiency",
                      "exposed");
  const Report& first = reports.front();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const Report& report = reports[i];
    const double speed_up = report.samples_per_s / first.samples_per_s;
    const double efficiency =
        speed_up * static_cast<double>(counts.front()) / static_cast<double>(counts[i]);
    const double communication = report.exposed_communication_s / report.step_s.p50;
    text += fmt::format("{:>5}  {:<20}{:>14}  {:<28}{:>10.1f}{:>10.2f}{:>11.0f} %{:>8.0f} %\n",
                        counts[i],
                        last_gpu[i],
                        human(Seconds(report.epoch_s.p50)),
                        report.epoch_s.p05 ? fmt::format("{} to {}",
                                                         human(Seconds(*report.epoch_s.p05)),
                                                         human(Seconds(*report.epoch_s.p95)))
                                           : "no spread known",
                        report.samples_per_s,
                        speed_up,
                        100 * efficiency,
                        100 * communication);
    nlohmann::json row = to_json(report)["prediction"];
    row["gpus"] = counts[i];
    row["speed_up"] = speed_up;
    row["efficiency"] = efficiency;
    row["communication_share"] = communication;
    rows.push_back(std::move(row));
  }
  text += fmt::format(
      "\nSpeed-up and efficiency against {} GPU{}; exposed: communication that compute does not "
      "hide.\nWith {} GPUs: {}.\n",
      counts.front(),
      counts.front() == 1 ? "" : "s",
      counts.back(),
      verdict_sentence(reports.back()));
  if (!arguments.json.empty()) {
    const nlohmann::json json = {{"schema", "vitsim-scale/1"},
                                 {"scaling", arguments.weak ? "weak" : "strong"},
                                 {"resolved", nlohmann::json::parse(reports.back().resolved_json)},
                                 {"rows", rows}};
    write_output(arguments.json, json.dump(2) + "\n");
  }
  if (arguments.json != "-") {
    fmt::print("{}", text);
  }
  return 0;
}

}  // namespace

void add_scale_command(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("scale", "Strong or weak scaling over the cluster's first GPUs");
  auto arguments = std::make_shared<ScaleArguments>();
  add_prediction_input(*command, arguments->input);
  whole_number(
      *command->add_option("--gpus", arguments->gpus, "Numbers of GPUs; default 1, 2, 4, ... all")
           ->delimiter(','),
      1,
      1'000'000'000);
  auto* strong =
      command->add_flag("--strong", arguments->strong, "The data set stays (the default)");
  command->add_flag("--weak", arguments->weak, "The data per rank stays as in the whole cluster")
      ->excludes(strong);
  command->add_flag(
      "--fastest-first", arguments->fastest_first, "Take the fastest GPUs first, not file order");
  command->add_option("--json", arguments->json, "Write the rows as JSON; - for standard output")
      ->type_name("FILE");
  command->footer("Example: vitsim scale configs/cluster/tesla-5gpu.json --gpus 1,2,3,4,5 --weak");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_scale(*arguments); }; });
}

}  // namespace vitsim
