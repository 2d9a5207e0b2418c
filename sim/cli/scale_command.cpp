#include <atomic>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <oneapi/tbb/parallel_for.h>

#include "models/document/quantity_text.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/cli/progress_meter.h"
#include "sim/predict/ring_latency.h"
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
  ResultFiles files;
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
  std::optional<std::string> ring_latency;  // of all GPUs
  const PredictOptions options{.replicates = arguments.input.replicates,
                               .seed = arguments.input.seed};
  ProgressMeter meter("predicting sizes");
  std::atomic<std::size_t> done = 0;
  oneapi::tbb::parallel_for(std::size_t{0}, counts.size(), [&](std::size_t i) {
    meter.progress()(done++, counts.size());
    const ResolvedExperiment part =
        resolve(first_ranks(experiment, counts[i], arguments.weak), profiles);
    reports[i] = predict_jobs(part, options, true).front();
    if (i + 1 == counts.size()) {
      ring_latency = ring_latency_sentence(part.jobs.front());
    }
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
  const auto any = [&](auto figure) {
    return std::ranges::any_of(reports, [&](const Report& report) {
      return report.cost && ((*report.cost).*figure).has_value();
    });
  };
  const bool prices = any(&RunCost::price);
  const bool energies = any(&RunCost::energy_kwh);
  using Align = TextTable::Align;
  std::vector<TextTable::Column> columns = {{"GPUs"},
                                            {"last added", Align::kLeft},
                                            {"epoch"},
                                            {"90% prediction interval", Align::kLeft},
                                            {"images/s"},
                                            {"speed-up"},
                                            {"efficiency"},
                                            {"exposed"}};
  if (prices) {
    columns.push_back({"price"});
  }
  if (energies) {
    columns.push_back({"kWh"});
  }
  TextTable table(columns);
  const Report& first = reports.front();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const Report& report = reports[i];
    const double speed_up = report.samples_per_s / first.samples_per_s;
    const double efficiency =
        speed_up * static_cast<double>(counts.front()) / static_cast<double>(counts[i]);
    const double communication = report.exposed_communication_s / report.step_s.p50;
    std::vector<TextCell> cells = {fmt::format("{}", counts[i]),
                                   last_gpu[i],
                                   TextCell(human(Seconds(report.epoch_s.p50)), Ink::kStrong),
                                   relative_interval_text(report.epoch_s),
                                   fmt::format("{:.1f}", report.samples_per_s),
                                   fmt::format("{:.2f}", speed_up),
                                   fmt::format("{:.0f} %", 100 * efficiency),
                                   fmt::format("{:.0f} %", 100 * communication)};
    const auto add = [&](const std::optional<double>& value) {
      cells.emplace_back(value ? fmt::format("{:.2f}", *value) : std::string("-"));
    };
    if (prices) {
      add(report.cost ? report.cost->price : std::nullopt);
    }
    if (energies) {
      add(report.cost ? report.cost->energy_kwh : std::nullopt);
    }
    table.add(std::move(cells));
    nlohmann::json row = to_json(report)["prediction"];
    row["gpus"] = counts[i];
    row["speed_up"] = speed_up;
    row["efficiency"] = efficiency;
    row["communication_share"] = communication;
    rows.push_back(std::move(row));
  }
  text += table.text(terminal_style());
  text += fmt::format(
      "\nSpeed-up and efficiency against {} GPU{}; exposed: share of a step that is exposed "
      "communication.\nWith {} GPUs: {}.\n",
      counts.front(),
      counts.front() == 1 ? "" : "s",
      counts.back(),
      verdict_sentence(reports.back()));
  if (ring_latency) {
    text += *ring_latency + "\n";
  }
  if (arguments.files.any()) {
    const nlohmann::json json = {
        {"schema", "vitsim-scale/1"},
        {"scaling", arguments.weak ? "weak" : "strong"},
        {"resolved", nlohmann::json::parse(reports.back().resolved_json)},
        {"ring_latency", ring_latency ? nlohmann::json(*ring_latency) : nullptr},
        {"rows", rows}};
    arguments.files.write(json);
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print("{}", text);
  }
  return 0;
}

}  // namespace

void add_scale_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "scale", "Predict with the first 1, 2, 4, ... GPUs of the file: strong or weak scaling");
  auto arguments = std::make_shared<ScaleArguments>();
  add_prediction_input(*command, arguments->input);
  whole_number(
      *command->add_option("--gpus", arguments->gpus, "Numbers of GPUs; default 1, 2, 4, ... all")
           ->delimiter(','),
      1,
      1'000'000'000);
  auto* strong = command->add_flag(
      "--strong", arguments->strong, "The same data set for every number of GPUs (the default)");
  command
      ->add_flag(
          "--weak", arguments->weak, "The same data per GPU: the data set shrinks with the GPUs")
      ->excludes(strong);
  command->add_flag(
      "--fastest-first", arguments->fastest_first, "Take the fastest GPUs first, not file order");
  add_result_files(*command, arguments->files, "rows");
  command->footer("Example: vitsim scale configs/cluster/tesla-5gpu.json --gpus 1,2,3,4,5 --weak");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_scale(*arguments); }; });
}

}  // namespace vitsim
