#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "models/document/atomic_file.h"
#include "models/document/quantity_text.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/prediction.h"
#include "sim/plan/plan.h"
#include "sim/render/plan_text.h"

namespace vitsim {

namespace {

struct PlanArguments {
  PredictionInput input;
  std::string objective = "time";
  std::string deadline;
  std::optional<double> budget;
  std::vector<std::string> keep;
  std::vector<std::string> vary;
  std::vector<std::string> add;
  std::string global_batch = "keep";
  ResultFiles files;
  std::string write;
};

std::atomic<bool> interrupted = false;

extern "C" void note_interrupt(int /*signal*/) {
  interrupted = true;
}

/// While it lives, an interrupt ends the search instead of the program; a second one ends that.
class InterruptGuard {
 public:
  InterruptGuard() {
    interrupted = false;

    struct sigaction action {};

    action.sa_handler = note_interrupt;
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, &before_);
  }

  ~InterruptGuard() { sigaction(SIGINT, &before_, nullptr); }

  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_ {};
};

/// Tells how far a long search is, on standard error: a line that is written over on a terminal,
/// else now and then one more.
class ProgressLine {
 public:
  bool operator()(const PlanProgress& progress) {
    using std::chrono::steady_clock;
    const auto now = steady_clock::now();
    const bool terminal = isatty(STDERR_FILENO) == 1;
    const auto pause = terminal ? std::chrono::milliseconds(500) : std::chrono::seconds(5);
    if (now - last_ >= pause) {
      last_ = now;
      std::fputs(
          fmt::format("{}plan: {} of {} candidates predicted{}{}",
                      terminal ? "\r" : "",
                      progress.predicted,
                      progress.candidates,
                      progress.best ? fmt::format(", best run {}", human(*progress.best)) : "",
                      terminal ? "   " : "\n")
              .c_str(),
          stderr);
      needs_end_ = terminal;
    }
    return !interrupted;
  }

  void end() const {
    if (needs_end_) {
      std::fputs("\n", stderr);
    }
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool needs_end_ = false;
};

std::optional<Seconds> parse_deadline(const std::string& text) {
  if (text.empty()) {
    return std::nullopt;
  }
  const ParsedQuantity<Seconds> parsed = parse_seconds(text);
  if (!parsed.value) {
    throw UserError(fmt::format("--deadline: {}", parsed.problem));
  }
  if (parsed.value->value() <= 0) {
    throw UserError(fmt::format("--deadline {}: must be above zero", text));
  }
  return parsed.value;
}

Objective parse_objective(const std::string& text) {
  const auto found = std::ranges::find(kObjectiveNames, text);
  return static_cast<Objective>(found - kObjectiveNames.begin());
}

std::vector<std::string> split_at_commas(const std::vector<std::string>& texts) {
  std::vector<std::string> words;
  for (const std::string& text : texts) {
    std::string word;
    for (const char c : text + ",") {
      if (c != ',') {
        word += c;
      } else if (!word.empty()) {
        words.push_back(std::move(word));
        word.clear();
      }
    }
  }
  return words;
}

PlanRequest request_of(const PlanArguments& arguments) {
  PlanRequest request{
      .text = experiment_text(arguments.input.file),
      .file = arguments.input.file,
      .settings = arguments.input.overrides(),
      .objective = parse_objective(arguments.objective),
      .limits = {.deadline = parse_deadline(arguments.deadline), .budget = arguments.budget},
      .keep = split_at_commas(arguments.keep),
      .keeps_global_batch = arguments.global_batch == "keep",
      .predict = {.replicates = arguments.input.replicates, .seed = arguments.input.seed}};
  for (const std::string& text : arguments.vary) {
    request.vary.push_back(parse_varied_key(text));
  }
  for (const std::string& text : split_at_commas(arguments.add)) {
    request.add.push_back(parse_added_gpus(text));
  }
  return request;
}

void write_chosen(const PlanArguments& arguments, const PlanRequest& request, const Plan& plan) {
  std::vector<Override> all = request.settings;
  if (!plan.base_is_best) {
    const std::vector<Override>& set = plan.options.front().set;
    all.insert(all.end(), set.begin(), set.end());
  }
  const std::filesystem::path target = arguments.write;
  write_file_atomically(target,
                        text_with_overrides(request.text,
                                            request.file,
                                            all,
                                            target.has_parent_path() ? target.parent_path()
                                                                     : std::filesystem::path(".")));
}

int run_plan(const PlanArguments& arguments) {
  if (arguments.budget && *arguments.budget < 0) {
    throw UserError(fmt::format("--budget {}: must not be negative", *arguments.budget));
  }
  const ThreadLimit limit(arguments.input.threads);
  const PlanRequest request = request_of(arguments);
  ProgressLine line;
  const InterruptGuard guard;
  const Plan plan =
      make_plan(request, [&](const PlanProgress& progress) { return line(progress); });
  line.end();
  if (arguments.files.any()) {
    arguments.files.write(to_json(plan, request));
  }
  if (!arguments.write.empty()) {
    write_chosen(arguments, request, plan);
  }
  if (!arguments.files.take_standard_output()) {
    fmt::print("{}", plan_text(plan, request));
  }
  return plan.is_feasible ? 0 : 1;
}

}  // namespace

void add_plan_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "plan", "Which GPUs, micro-batches and way to train are best, and at what price");
  auto arguments = std::make_shared<PlanArguments>();
  add_prediction_input(*command, arguments->input);
  command->add_option("--objective", arguments->objective, "What of the whole run to minimise")
      ->check(CLI::IsMember({"time", "cost", "energy"}))
      ->capture_default_str();
  command->add_option("--deadline", arguments->deadline, "The run must be done in time, e.g. 2d")
      ->type_name("TIME");
  command
      ->add_option(
          "--budget", arguments->budget, "The run must not cost more, in the file's prices")
      ->type_name("PRICE");
  command
      ->add_option("--keep",
                   arguments->keep,
                   "Keys that must not change, or beginnings of keys, e.g. "
                   "training.gradient_sync,cluster.nodes")
      ->type_name("KEY,...")
      ->allow_extra_args(false);
  command
      ->add_option("--vary",
                   arguments->vary,
                   "A further key to change, and the values to try; may be given several times")
      ->type_name("KEY=V1,V2,...")
      ->allow_extra_args(false);
  command
      ->add_option("--add", arguments->add, "GPUs that could be bought or rented, e.g. rtx-4090:2")
      ->type_name("GPU[:COUNT]")
      ->allow_extra_args(false);
  command
      ->add_option("--global-batch",
                   arguments->global_batch,
                   "Keep the samples of a step, or try others as well")
      ->check(CLI::IsMember({"keep", "free"}))
      ->capture_default_str();
  command->add_option("--write", arguments->write, "Write the file with the best option's changes")
      ->type_name("FILE");
  add_result_files(*command, arguments->files, "plan");
  command->footer(
      "Model, data, precision and the samples of a step stay unless told otherwise.\n"
      "An interrupt (Ctrl-C) ends the search with the best found until then.\n"
      "Examples:\n"
      "  vitsim plan configs/cluster/tesla-5gpu.json\n"
      "  vitsim plan FILE --add rtx-4090:2 --objective cost --deadline 3d --write plan.json");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_plan(*arguments); }; });
}

}  // namespace vitsim
