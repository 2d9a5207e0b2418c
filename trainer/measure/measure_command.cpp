#include "trainer/measure/measure_command.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>
#include <torch/version.h>
#include <unistd.h>

#include "calibrate/profile/library.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/override.h"
#include "trainer/batch_feed.h"
#include "trainer/choose_device.h"
#include "trainer/communication.h"
#include "trainer/data/dataset.h"
#include "trainer/failure.h"
#include "trainer/gpu_monitor.h"
#include "trainer/measure/bench.h"
#include "trainer/measure/device_name.h"
#include "trainer/measure/loader_measurement.h"
#include "trainer/measure/network_measurement.h"
#include "trainer/measure/operator_measurement.h"
#include "trainer/measure/plan.h"
#include "trainer/progress_line.h"
#include "trainer/rank_command.h"
#include "trainer/watchdog.h"

namespace vitsim {

namespace {

struct MeasureArguments {
  std::string file;
  std::vector<std::string> settings;
  std::string budget = "2min";
  std::vector<std::string> names;
  std::string link;
  std::string out = "measurement.json";
  std::vector<std::string> models;
  std::vector<std::string> precisions;
  std::vector<std::int64_t> micro_batches;
  std::string device = "auto";
  std::vector<std::string> parts = {"network", "loader", "steps", "operators"};
};

void add_options(CLI::App& app, MeasureArguments& arguments) {
  app.add_option("FILE", arguments.file, "cluster file: measures around what it trains");
  app.add_option("--set", arguments.settings, "KEY=VALUE: overrides a key of the file")
      ->allow_extra_args(false);
  app.add_option("--budget", arguments.budget, "time to take, e.g. 30s")->capture_default_str();
  app.add_option("--name", arguments.names, "what profiles call the device: one, or one by rank")
      ->delimiter(',');
  app.add_option("--link", arguments.link, "what profiles call the network");
  app.add_option("--out", arguments.out, "measurement to write")->capture_default_str();
  app.add_option("--model", arguments.models, "models to measure, e.g. vit-ti-16,vit-s-16")
      ->delimiter(',');
  app.add_option("--precision", arguments.precisions, "precisions to measure, e.g. fp32,bf16")
      ->delimiter(',');
  app.add_option("--micro-batch", arguments.micro_batches, "micro-batches to measure, e.g. 8,16")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--device", arguments.device, "auto takes a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.add_option("--parts", arguments.parts, "what to measure: network, loader, steps, operators")
      ->delimiter(',')
      ->check(CLI::IsMember({"network", "loader", "steps", "operators"}))
      ->capture_default_str();
}

// A command line understood.
struct Request {
  Seconds budget;
  PlanRequest plan;
};

Request understand(const MeasureArguments& arguments, const MpiSession& session) {
  std::vector<std::string> problems;
  Request request;
  const auto budget = parse_seconds(arguments.budget);
  if (!budget.value) {
    problems.push_back("--budget: " + budget.problem);
  } else if (budget.value->value() <= 0) {
    problems.emplace_back("--budget: must be more than nothing");
  } else {
    request.budget = *budget.value;
  }
  for (const std::string& text : arguments.precisions) {
    if (const auto precision = precision_from_name(text)) {
      request.plan.precisions.push_back(*precision);
    } else {
      problems.push_back(fmt::format("--precision: unknown precision {}{}",
                                     in_quotes(text),
                                     did_you_mean(text, words(kPrecisionNames))));
    }
  }
  for (const std::string& text : arguments.models) {
    if (const auto model = vit_variant(text)) {
      request.plan.models.push_back(*model);
    } else {
      std::vector<std::string> known;
      for (const VitSpec& variant : vit_variants()) {
        known.push_back(variant.name);
      }
      problems.push_back(
          fmt::format("--model: unknown model {}{}", in_quotes(text), did_you_mean(text, known)));
    }
  }
  request.plan.micro_batches = arguments.micro_batches;
  const std::size_t names = arguments.names.size();
  if (names > 1 && names != static_cast<std::size_t>(session.size())) {
    problems.push_back(fmt::format(
        "--name: {} names for {} ranks: give one, or one by rank", names, session.size()));
  }
  if (arguments.file.empty()) {
    if (!arguments.settings.empty()) {
      problems.emplace_back("--set needs a FILE");
    }
  } else {
    std::vector<Override> overrides;
    try {
      overrides = parse_overrides(arguments.settings);
    } catch (const UserError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
    if (problems.empty()) {
      request.plan.experiment =
          read_experiment(arguments.file, overrides, {}, MissingProfiles::kAccepted);
      const std::int64_t world = request.plan.experiment->cluster.world_size();
      // One rank alone may measure itself for any cluster.
      if (session.size() > 1 && world != session.size()) {
        problems.push_back(fmt::format(
            "{}: the cluster has {} ranks, but {} processes were started: use mpirun -np {}",
            arguments.file,
            world,
            session.size(),
            world));
      }
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
  return request;
}

// What the file calls this rank's GPU. One rank that measures itself for a cluster of others is one
// of them where all have the same name; empty where it cannot be told.
std::string name_in_file(const ClusterSpec& cluster, const MpiSession& session) {
  if (cluster.world_size() == session.size()) {
    const RankPlace place = rank_places(cluster)[static_cast<std::size_t>(session.rank())];
    return cluster.nodes[place.node].gpus[place.gpu].model;
  }
  const std::string& first = cluster.nodes.front().gpus.front().model;
  for (const NodeSpec& node : cluster.nodes) {
    for (const GpuSpec& gpu : node.gpus) {
      if (gpu.model != first) {
        return {};
      }
    }
  }
  return first;
}

// Device names by rank: as the command line says; a GPU's own; a CPU's as the file calls it, unless
// it calls it a GPU; else by the host.
std::vector<std::string> device_names(const MeasureArguments& arguments,
                                      const Request& request,
                                      const Device& device,
                                      const MpiSession& session,
                                      Communication& communication) {
  const auto size = static_cast<std::size_t>(session.size());
  const auto rank = static_cast<std::size_t>(session.rank());
  std::string own;
  if (!arguments.names.empty()) {
    own = arguments.names.size() == 1 ? arguments.names.front() : arguments.names[rank];
  } else if (!device.torch_device().is_cpu()) {
    own = normalised_gpu_name(device.name());
  } else {
    own = default_cpu_name(session.host());
    if (const auto& experiment = request.plan.experiment) {
      const std::string said = name_in_file(experiment->cluster, session);
      if (!said.empty() && !ProfileLibrary(experiment->profiles).sheet(said)) {
        own = said;
      }
    }
  }
  std::vector<std::string> names = communication.gather_text(own);
  names.resize(size);
  return names;
}

std::string link_profile_name(const MeasureArguments& arguments,
                              const Request& request,
                              const MpiSession& session) {
  if (!arguments.link.empty()) {
    return arguments.link;
  }
  const bool one_node = session.local_size() == session.size();
  if (request.plan.experiment) {
    const ClusterSpec& cluster = request.plan.experiment->cluster;
    const auto& link = one_node ? cluster.intra_node : cluster.network;
    if (link && link->profile) {
      return *link->profile;
    }
  }
  return default_cpu_name(session.host()).substr(4) + (one_node ? "-node" : "-network");
}

// Ends the job where it is far beyond its budget: a device or link can be so slow that a single
// step or message outlasts it. What was kept stays.
class Deadline {
 public:
  explicit Deadline(Seconds budget)
      : thread_([this, most_s = budget.value() + std::max(10.0, 0.1 * budget.value())] {
          wait(most_s);
        }) {}

  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  ~Deadline() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

 private:
  void wait(double most_s) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::duration<double>(most_s), [&] { return done_; })) {
      fmt::print(stderr,
                 "\nvitsim: error: no end in sight after {:.0f} s: a link or device is far slower "
                 "than expected\n",
                 most_s);
      abort_job(3);
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;  // the last member: it uses the others
};

std::map<std::string, std::string> environment(const MpiSession& session,
                                               const Device& device,
                                               const LoaderSpec& loader,
                                               const std::string& link) {
  utsname system{};
  uname(&system);
  std::map<std::string, std::string> found;
  found["host"] = session.host();
  found["device"] = device.name();
  found["torch"] = TORCH_VERSION;
  found["kernel"] = fmt::format("{} {}", system.sysname, system.release);
  found["threads"] = std::to_string(at::get_num_threads());
  const LoaderOptions options = loader_options(loader, device);
  found["loader"] =
      fmt::format("{} workers{}", options.workers, options.pin_memory ? ", pinned" : "");
  found["ranks"] = std::to_string(session.size());
  if (session.size() > 1) {
    found["link"] = link;
  }
  return found;
}

bool wants(const MeasureArguments& arguments, const char* part) {
  return std::ranges::count(arguments.parts, part) > 0;
}

void measure_parts(const MeasureArguments& arguments,
                   const MeasurementPlan& plan,
                   bool with_loader,
                   Bench& bench,
                   const std::string& link) {
  const double budget_s = bench.budget().total().value();
  const bool several = bench.session().size() > 1;
  const bool steps = wants(arguments, "steps");
  const bool operators = wants(arguments, "operators");
  // Absolute ends: what one part leaves over is the next one's.
  if (several && wants(arguments, "network")) {
    const double share = steps || operators ? 0.3 : 0.85;
    measure_point_to_point(bench, link, 0.3 * share * budget_s);
    measure_all_reduce(bench, link, share * budget_s);
    measure_overlap(bench, plan.training, (share + 0.15) * budget_s);
    bench.communication().release_scratch();  // steps are asked for their peak of memory
  }
  if (with_loader && wants(arguments, "loader")) {
    const double share = several && (steps || operators) ? 0.5 : steps || operators ? 0.15 : 0.9;
    measure_loader(bench, plan.training, share * budget_s);
  }
  if (steps) {
    measure_steps(bench, plan.training, plan.steps, (operators ? 0.85 : 0.95) * budget_s);
  }
  if (operators) {
    measure_operators(bench, plan.precisions, 0.95 * budget_s);
  }
}

// The first problem with the data set, empty where there is none.
std::string why_unreadable(const TrainingSpec& training) {
  try {
    open_dataset(training, Split::kTrain);
    return "";
  } catch (const UserError& error) {
    return error.problems().front();
  }
}

// A GPU that is hot, or that others use, is slower than its profile should say.
void tell_what_held_gpus_up(Bench& bench, const GpuMonitor* monitor) {
  constexpr double kOften = 0.02;
  const double throttled = bench.largest(monitor == nullptr ? 0 : monitor->throttled_share());
  if (throttled > kOften) {
    bench.could_not(
        fmt::format("a GPU's clock was held down by heat or its power supply in {:.0f} % of the "
                    "readings: what was measured then is slower than the GPU can be",
                    100 * throttled));
  }
  const double processes =
      bench.largest(monitor == nullptr ? 0 : static_cast<double>(monitor->most_processes()));
  if (processes > static_cast<double>(bench.session().local_size())) {
    bench.could_not(
        fmt::format("{:.0f} processes computed on a GPU at once: others used it while it was "
                    "measured",
                    processes));
  }
}

void say_what_was_found(const Bench& bench, const std::string& out) {
  std::size_t disturbed = 0;
  std::size_t values = 0;
  for (const Sample& sample : bench.measured.samples) {
    disturbed += sample.disturbed ? 1 : 0;
    values += sample.figures().size();
  }
  fmt::print(stderr, "{}", output_is_terminal() ? "\r\033[K" : "");
  for (const std::string& warning : bench.measured.warnings) {
    fmt::print(stderr, "vitsim: warning: {}\n", warning);
  }
  if (disturbed > 0) {
    fmt::print(stderr,
               "vitsim: warning: others used this machine's CPUs during {} of {} series: these "
               "are marked as disturbed\n",
               disturbed,
               bench.measured.samples.size());
  }
  fmt::print("{}: {} in {:.0f} s: {} series, {} values\n",
             out,
             bench.measured.device,
             bench.budget().elapsed_s(),
             bench.measured.samples.size(),
             values);
}

void measure(const MeasureArguments& arguments,
             const Request& request,
             const MpiSession& session,
             Communication& communication,
             PhaseBoard& board) {
  std::unique_ptr<Device> device;
  communication.on_every_rank([&] { device = choose_device(arguments.device, session); });
  communication.connect(*device, AllReduceAlgorithm::kRing);
  const std::string link = link_profile_name(arguments, request, session);
  Bench bench(session,
              communication,
              *device,
              board,
              request.budget,
              device_names(arguments, request, *device, session, communication),
              arguments.out);
  std::vector<std::string> distinct;
  for (const std::string& name : bench.names()) {
    if (std::ranges::count(distinct, name) == 0) {
      distinct.push_back(name);
    }
  }
  bench.measured.device = fmt::format("{}", fmt::join(distinct, ", "));
  const std::vector<std::string> devices = communication.gather_text(device->name());
  MeasurementPlan plan;
  std::string unreadable;
  communication.on_every_rank([&] {
    std::vector<std::string> left_out;
    plan = plan_measurement(request.plan, *device, left_out);
    for (const std::string& what : left_out) {
      bench.could_not(what);
    }
    if (plan.precisions.empty()) {
      throw UserError(left_out);
    }
    for (std::size_t rank = 0; rank < devices.size(); ++rank) {
      add_devices(bench.measured, {{bench.names()[rank], devices[rank]}});
    }
    bench.measured.environment = environment(session, *device, plan.training.loader, link);
    unreadable = why_unreadable(plan.training);
    if (session.rank() == 0) {
      write_measurement(arguments.out, bench.measured);
    }
  });
  const bool readable = bench.largest(unreadable.empty() ? 0 : 1) == 0;
  if (!readable) {
    bench.could_not(
        fmt::format("{}: steps are measured with synthetic images, loading is not",
                    unreadable.empty() ? "another rank cannot read the data set" : unreadable));
    plan.training.dataset = synthetic_images();
  }
  const auto place = device->pci_bus_id();
  const auto monitor = place ? GpuMonitor::start(*place) : nullptr;
  measure_parts(arguments, plan, readable, bench, link);
  tell_what_held_gpus_up(bench, monitor.get());
  bench.keep();
  if (session.rank() == 0) {
    say_what_was_found(bench, arguments.out);
  }
}

int run_measurement(int argc, const char* const* argv, const MpiSession& session) {
  MeasureArguments arguments;
  Request request;
  on_every_rank(session, [&] {
    CLI::App app("Measures what this machine delivers, alone or under mpirun",
                 "vitsim calibrate measure");
    add_options(app, arguments);
    parse_command_line(app, argc, argv);
    request = understand(arguments, session);
  });
  share_cores(session);
  // Ranks that hang are ended by the watchdog soon after the budget, too long ones by the deadline.
  const auto budget_s = static_cast<std::int64_t>(std::ceil(request.budget.value()));
  Watchdog watchdog(session, std::chrono::seconds(budget_s + 15));
  std::optional<Deadline> deadline;
  if (session.rank() == 0) {
    deadline.emplace(request.budget);
  }
  Communication communication(session, AllReduceAlgorithm::kRing, {});
  watchdog.watch_collectives(communication.worker());
  try {
    measure(arguments, request, session, communication, watchdog.board());
  } catch (const UserError&) {
    watchdog.leave();  // all ranks agreed to stop
    throw;
  } catch (const OtherRankFailed&) {
    watchdog.leave();
    throw;
  } catch (...) {
    end_job_for_current_exception(watchdog);
  }
  watchdog.leave();
  return 0;
}

}  // namespace

int run_measure_command(int argc, const char* const* argv) {
  return run_rank_command(
      [&](const MpiSession& session) { return run_measurement(argc, argv, session); });
}

}  // namespace vitsim
