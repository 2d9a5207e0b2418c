#include "trainer/train_command.h"

#include <chrono>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "models/error.h"
#include "models/experiment/experiment.h"
#include "models/experiment/override.h"
#include "models/experiment/trainable.h"
#include "trainer/choose_device.h"
#include "trainer/communication.h"
#include "trainer/failure.h"
#include "trainer/rank_command.h"
#include "trainer/run_directory.h"
#include "trainer/training_run.h"

namespace vitsim {

namespace {

struct TrainArguments {
  std::filesystem::path file;
  std::vector<Override> overrides;
  RunOptions run;
  std::optional<std::int64_t> hang_timeout_s;
  std::string device = "auto";
};

TrainArguments parse(int argc, const char* const* argv) {
  TrainArguments arguments;
  CLI::App app("Trains a ViT for real, one rank per process", "vitsim train");
  std::string file;
  std::string resume;
  std::string out;
  std::vector<std::string> sets;
  std::optional<std::int64_t> epochs;
  std::optional<std::int64_t> workers;
  app.add_option("FILE", file, "cluster file")->required();
  app.add_option("--set", sets, "KEY=VALUE: overrides a key of the file, e.g. training.epochs=2");
  app.add_option("--steps", arguments.run.steps, "stop after so many updates")
      ->check(CLI::PositiveNumber);
  app.add_option("--epochs", epochs, "overrides training.epochs")->check(CLI::PositiveNumber);
  app.add_option("--resume", resume, "run directory, or checkpoint, to continue from");
  app.add_option("--out", out, "run directory (default: a new one under outputs/)");
  app.add_flag("--kineto", arguments.run.kineto, "also write PyTorch's own profiler trace");
  bool no_timeline = false;
  app.add_flag("--no-timeline",
               no_timeline,
               "record no phases: no timeline.jsonl, no trace.json, and a report of epochs only");
  app.add_option("--device", arguments.device, "auto takes a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--loader-workers",
                 workers,
                 "overrides training.loader.workers: threads that load and decode images, per rank")
      ->check(CLI::Range(1, 256));
  bool stop_on_unreadable = false;
  app.add_flag("--stop-on-unreadable",
               stop_on_unreadable,
               "stop at an image that cannot be read (default: count it, take another)");
  app.add_option("--hang-timeout",
                 arguments.hang_timeout_s,
                 "seconds without progress, checkpoints included, after which the job is ended "
                 "(default: by the run's own pace)")
      ->check(CLI::PositiveNumber);
  app.add_flag("--check-replicas",
               arguments.run.check_replicas,
               "at the end, fail unless all ranks hold the same bits");
  parse_command_line(app, argc, argv);

  if (stop_on_unreadable) {
    arguments.run.on_unreadable = OnUnreadable::kStop;
  }
  arguments.run.timeline = !no_timeline;
  arguments.file = file;
  arguments.overrides = parse_overrides(sets);
  if (epochs) {
    arguments.overrides.push_back({"training.epochs", std::to_string(*epochs)});
  }
  if (workers) {
    arguments.overrides.push_back({"training.loader.workers", std::to_string(*workers)});
  }
  if (!resume.empty()) {
    arguments.run.resume = resume;
  }
  arguments.run.out = out;
  return arguments;
}

std::optional<std::chrono::seconds> seconds(const std::optional<std::int64_t>& value) {
  return value ? std::optional(std::chrono::seconds(*value)) : std::nullopt;
}

// A directory under outputs/ that does not exist yet, or the one that is resumed.
std::filesystem::path run_directory(const RunOptions& options, const Experiment& experiment) {
  if (!options.out.empty()) {
    return options.out;
  }
  if (options.resume && std::filesystem::exists(*options.resume / "resolved.json")) {
    return *options.resume;
  }
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  const std::string name = fmt::format("outputs/{:%Y%m%d-%H%M%S}-{}-{}",
                                       local,
                                       experiment.training.model.name,
                                       vitsim::name(experiment.training.gradient_sync));
  std::filesystem::path free = name;
  for (int number = 2; std::filesystem::exists(free); ++number) {
    free = fmt::format("{}-{}", name, number);
  }
  return free;
}

// Ranks may see other clocks and other files: rank 0 says where all of them write. Collective.
void agree_on_run_directory(TrainArguments& arguments,
                            const Experiment& experiment,
                            const MpiSession& session) {
  std::string path;
  if (session.rank() == 0) {
    path = run_directory(arguments.run, experiment).string();
  }
  auto length = static_cast<std::int64_t>(path.size());
  broadcast_from_first(session, &length, sizeof(length));
  path.resize(static_cast<std::size_t>(length));
  broadcast_from_first(session, path.data(), static_cast<int>(length));
  arguments.run.out = path;
}

// What this device and its collectives cannot do. Throws UserError.
void check_support(const Experiment& experiment, const Device& device) {
  std::vector<std::string> problems;
  const TrainingSpec& training = experiment.training;
  if (!device.supports(training.precision)) {
    problems.push_back(fmt::format("{}: {} has no arithmetic for training.precision {}",
                                   experiment.file.string(),
                                   device.name(),
                                   name(training.precision)));
  }
  if (!device.supports(training.all_reduce)) {
    problems.push_back(fmt::format(
        "{}: training.all_reduce {} can be predicted, but not run on {}; {}",
        experiment.file.string(),
        name(training.all_reduce),
        device.name(),
        device.torch_device().is_cpu() ? "ring and open-mpi can" : "ring, tree and nccl can"));
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

int run_training(int argc, const char* const* argv, const MpiSession& session) {
  TrainArguments arguments;
  Experiment experiment;
  on_every_rank(session, [&] {
    arguments = parse(argc, argv);
    // `vitsim validate` trains with a file whose profiles it has just made elsewhere.
    experiment =
        read_experiment(arguments.file, arguments.overrides, {}, MissingProfiles::kAccepted);
    require_trainable(experiment);
    const std::int64_t world = experiment.cluster.world_size();
    if (world != session.size()) {
      throw UserError(
          fmt::format("{}: the cluster has {} ranks, but {} {} started: use mpirun -np {}",
                      arguments.file.string(),
                      world,
                      session.size(),
                      session.size() == 1 ? "process was" : "processes were",
                      world));
    }
  });
  on_every_rank(session, [&] {
    const auto& checkpoint = experiment.training.checkpoint;
    if (checkpoint && (checkpoint->is_automatic || checkpoint->every_time)) {
      throw UserError(
          fmt::format("{}{}every: a real run counts steps, it knows neither times nor \"auto\": "
                      "`vitsim predict` "
                      "says how many steps that is",
                      checkpoint->where,
                      checkpoint->where.empty() ? "/training/checkpoint/" : "/"));
    }
  });
  share_cores(session);
  agree_on_run_directory(arguments, experiment, session);
  on_every_rank(session, [&] {
    if (session.rank() == 0) {
      const auto& checkpoint = experiment.training.checkpoint;
      require_no_other_run(
          arguments.run.out, checkpoint ? checkpoint->path : std::nullopt, arguments.run.resume);
    }
  });

  Watchdog watchdog(session, seconds(arguments.hang_timeout_s));
  Communication communication(session, experiment.training.all_reduce, {});
  watchdog.watch_collectives(communication.worker());
  std::unique_ptr<Device> device;
  try {
    try {
      communication.on_every_rank([&] {
        device = choose_device(arguments.device, session);
        check_support(experiment, *device);
      });
      device->prepare(experiment.training.precision);
      communication.connect(*device, experiment.training.all_reduce);
    } catch (...) {
      end_job_unless_agreed(watchdog);
    }
    train(experiment, arguments.run, session, communication, *device, watchdog);
  } catch (...) {
    watchdog.leave();  // all ranks agreed to stop
    throw;
  }
  watchdog.leave();
  return 0;
}

}  // namespace

int run_train_command(int argc, const char* const* argv) {
  return run_rank_command(
      [&](const MpiSession& session) { return run_training(argc, argv, session); });
}

}  // namespace vitsim
