#include "trainer/measured_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "models/distribution.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

constexpr double kNanosecond = 1e-9;
constexpr std::size_t kPhases = kPhaseNames.size();

// One step of one rank, summed up.
struct StepOfRank {
  double wall_s = 0;
  std::array<double, kPhases> phase_s{};  // busy or waiting
  std::vector<double> all_reduces_s;      // in order
  std::vector<std::int64_t> all_reduces_begin_ns;
  std::int64_t backward_end_ns = 0;
  std::int64_t optimizer_begin_ns = 0;
  std::int64_t optimizer_end_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t begin_ns = 0;
  double exposed_s = 0;  // communication and waiting that nothing hides
  double wait_s = 0;
  double communication_s = 0;  // busy
  double copies_s = 0;         // gradients brought back after the last sum

  [[nodiscard]] double phase(Phase which) const { return phase_s[static_cast<std::size_t>(which)]; }

  [[nodiscard]] double compute_s() const {
    return phase(Phase::kDataLoad) + phase(Phase::kForward) + phase(Phase::kBackward) +
           phase(Phase::kOptimizer);
  }
};

using Step = std::vector<StepOfRank>;  // by rank

std::map<std::int64_t, Step> collect(const Measured& measured, std::size_t world) {
  std::map<std::int64_t, Step> steps;
  for (const StepTime& time : measured.steps) {
    if (time.full && !time.warm_up) {
      Step& step = steps[time.step];
      step.resize(world);
      StepOfRank& mine = step[static_cast<std::size_t>(time.rank)];
      mine.wall_s = static_cast<double>(time.end_ns - time.begin_ns) * kNanosecond;
      mine.begin_ns = time.begin_ns;
      mine.end_ns = time.end_ns;
    }
  }
  for (const Span& span : measured.spans) {
    const auto found = steps.find(span.step);
    const bool in_step = span.phase < Phase::kEpochBarrier;
    if (found == steps.end() || !in_step) {
      continue;
    }
    StepOfRank& mine = found->second[static_cast<std::size_t>(span.rank)];
    const double seconds = static_cast<double>(span.end_ns - span.begin_ns) * kNanosecond;
    mine.phase_s[static_cast<std::size_t>(span.phase)] += seconds;
    switch (span.phase) {
      case Phase::kBackward:
        mine.backward_end_ns = std::max(mine.backward_end_ns, span.end_ns);
        break;
      case Phase::kGradientAllReduce:
        if (span.bytes == 0) {
          mine.copies_s += seconds;
          break;
        }
        mine.all_reduces_s.push_back(seconds);
        mine.all_reduces_begin_ns.push_back(span.begin_ns);
        break;
      case Phase::kOptimizer:
        mine.optimizer_begin_ns = span.begin_ns;
        mine.optimizer_end_ns = span.end_ns;
        break;
      default:
        break;
    }
  }
  // A step that some rank did not finish says nothing.
  std::erase_if(steps, [](const auto& entry) {
    return std::ranges::any_of(entry.second,
                               [](const StepOfRank& mine) { return mine.wall_s == 0; });
  });
  return steps;
}

void find_waiting(Step& step) {
  std::size_t calls = step.front().all_reduces_s.size();
  for (const StepOfRank& mine : step) {
    calls = std::min(calls, mine.all_reduces_s.size());
  }
  std::vector<double> least(calls);
  for (std::size_t call = 0; call < calls; ++call) {
    least[call] = step.front().all_reduces_s[call];
    for (const StepOfRank& mine : step) {
      least[call] = std::min(least[call], mine.all_reduces_s[call]);
    }
  }
  const double busy = std::accumulate(least.begin(), least.end(), 0.0);
  for (StepOfRank& mine : step) {
    mine.communication_s = busy + mine.copies_s;
    mine.exposed_s = static_cast<double>(mine.optimizer_begin_ns - mine.backward_end_ns +
                                         mine.end_ns - mine.optimizer_end_ns) *
                     kNanosecond;
    // Waiting in an AllReduce that backward hides costs nothing.
    double waited = 0;
    for (std::size_t call = 0; call < calls; ++call) {
      waited += mine.all_reduces_s[call] - least[call];
    }
    mine.wait_s = std::clamp(waited, 0.0, std::max(0.0, mine.exposed_s));
    mine.exposed_s = std::max(0.0, mine.exposed_s - mine.wait_s);
  }
}

// Time in the last sum of gradients; what an optimizer that is sharded gathers afterwards is not
// one.
double last_all_reduce_s(const StepOfRank& mine) {
  double last = 0;
  for (std::size_t call = 0; call < mine.all_reduces_s.size(); ++call) {
    if (mine.all_reduces_begin_ns[call] < mine.optimizer_begin_ns) {
      last = mine.all_reduces_s[call];
    }
  }
  return last;
}

// Shares of the step by rank: who came last to its last AllReduce, which shows as the least time in
// it. Ties are split.
void count_late(const Step& step, std::vector<double>& late) {
  std::vector<double> last;
  for (const StepOfRank& mine : step) {
    last.push_back(last_all_reduce_s(mine));
  }
  const double least = *std::ranges::min_element(last);
  const auto ties = static_cast<double>(std::ranges::count(last, least));
  for (std::size_t rank = 0; rank < step.size(); ++rank) {
    if (last[rank] == least) {
      late[rank] += 1 / ties;
    }
  }
}

Quantiles of_run(const std::vector<double>& values) {
  if (values.empty()) {
    return {};
  }
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {.mean = sum / static_cast<double>(values.size()), .p50 = median(values)};
}

std::string who_is_to_blame(const Report& report) {
  const double step_s = report.step_s.p50;
  if (step_s <= 0) {
    return "What holds the run up is unknown: no full step after warm-up was recorded.";
  }
  if (report.phases.data_load_s > 0.2 * step_s) {
    return fmt::format(
        "Data: ranks wait {:.3g} s of a step of {:.4g} s for images; more --loader-workers may "
        "help.",
        report.phases.data_load_s,
        step_s);
  }
  if (report.ranks.size() < 2) {
    return "One rank: nothing to wait for.";
  }
  const auto slowest = std::ranges::max_element(report.ranks, {}, &RankReport::gain_s);
  // Even ranks come last by turns.
  const bool always_late = slowest->late_share > 1.5 / static_cast<double>(report.ranks.size());
  // A run that was stopped early has no whole epoch.
  const double epoch_s = report.epoch_s.p50 > 0
                             ? report.epoch_s.p50
                             : step_s * static_cast<double>(report.steps_per_epoch);
  if (always_late && slowest->gain_s > 0.02 * epoch_s) {
    return fmt::format(
        "Rank {} ({}) holds the others up: last to be ready in {:.0f} % of the steps; as fast as "
        "the median rank it would save {:.3g} s of an epoch of {:.4g} s.",
        slowest->rank,
        slowest->gpu,
        100 * slowest->late_share,
        slowest->gain_s,
        epoch_s);
  }
  if (report.exposed_communication_s > 0.2 * step_s) {
    return fmt::format("Communication: {:.3g} s of a step of {:.4g} s that no compute hides.",
                       report.exposed_communication_s,
                       step_s);
  }
  return fmt::format(
      "Compute: ranks are even, and communication takes {:.3g} s of a step of {:.4g} s.",
      report.exposed_communication_s,
      step_s);
}

// The model's arithmetic by usual count (three times forward's matrix products), in a median step.
void add_utilisation(Report& report,
                     const TrainingSpec& training,
                     const EpochPlan& plan,
                     const Measured& measured) {
  if (report.step_s.p50 <= 0) {
    return;
  }
  std::int64_t samples = 0;
  for (const StepShape& shape : plan.full) {
    samples += shape.samples();
  }
  report.model_flops_per_s =
      training_flops(training.model).value() * static_cast<double>(samples) / report.step_s.p50;
  double peak = 0;
  for (const double of_rank : measured.peak_flops_per_s) {
    if (of_rank == 0) {
      return;
    }
    peak += of_rank;
  }
  if (peak > 0) {
    report.model_flops_utilisation = *report.model_flops_per_s / peak;
  }
}

}  // namespace

Report measured_report(const ClusterSpec& cluster,
                       const TrainingSpec& training,
                       const EpochPlan& plan,
                       const Measured& measured) {
  const auto world = static_cast<std::size_t>(cluster.world_size());
  auto steps = collect(measured, world);

  Report report;
  report.source = "measured";
  report.steps_per_epoch = plan.steps;
  report.samples_per_epoch = plan.samples;
  report.epoch_s = of_run(measured.epochs_s);
  report.total_s = {.mean = measured.total_s, .p50 = measured.total_s};
  if (report.epoch_s.p50 > 0) {
    report.samples_per_s = static_cast<double>(plan.samples) / report.epoch_s.p50;
  }

  std::vector<double> walls;
  std::vector<double> late(world);
  std::vector<double> compute(world);
  std::vector<double> wait(world);
  std::vector<double> gain(world);
  const double count = static_cast<double>(steps.size());
  const double shares = count * static_cast<double>(world);
  for (auto& [number, step] : steps) {
    find_waiting(step);
    count_late(step, late);
    double wall = 0;
    std::vector<double> computes;
    for (const StepOfRank& mine : step) {
      wall = std::max(wall, mine.wall_s);
      computes.push_back(mine.compute_s());
    }
    walls.push_back(wall);
    const double typical = median(computes);
    const double slowest = *std::ranges::max_element(computes);
    for (std::size_t rank = 0; rank < world; ++rank) {
      const StepOfRank& mine = step[rank];
      compute[rank] += mine.compute_s() / count;
      wait[rank] += mine.wait_s / count;
      auto without = computes;
      without[rank] = std::min(without[rank], typical);
      gain[rank] +=
          (slowest - *std::ranges::max_element(without)) / count * static_cast<double>(plan.steps);
      report.phases.data_load_s += mine.phase(Phase::kDataLoad) / shares;
      report.phases.forward_s += mine.phase(Phase::kForward) / shares;
      report.phases.backward_s += mine.phase(Phase::kBackward) / shares;
      report.phases.gradient_all_reduce_s += mine.communication_s / shares;
      report.phases.optimizer_s += mine.phase(Phase::kOptimizer) / shares;
      report.phases.other_s +=
          std::max(0.0, mine.wall_s - mine.compute_s() - mine.exposed_s - mine.wait_s) / shares;
      report.exposed_communication_s += mine.exposed_s / shares;
      report.wait_s += mine.wait_s / shares;
    }
  }
  report.step_s = of_run(walls);
  add_utilisation(report, training, plan, measured);
  if (steps.empty()) {
    report.warnings.emplace_back("no full step after warm-up: phases and waiting are unknown");
  }

  const auto places = rank_places(cluster);
  for (std::size_t rank = 0; rank < world; ++rank) {
    const NodeSpec& node = cluster.nodes[places[rank].node];
    const auto peak = static_cast<double>(measured.peak_memory_bytes[rank]);
    RankMemory memory{.total_bytes = peak, .parts = {.constant = peak}};
    if (measured.memory_bytes[rank] > 0) {
      memory.capacity_bytes = static_cast<double>(measured.memory_bytes[rank]);
    }
    report.ranks.push_back(
        {.rank = static_cast<std::int64_t>(rank),
         .node = node.name,
         .gpu = node.gpus[places[rank].gpu].model,
         .device = measured.devices[rank],
         .micro_batch = training.micro_batch[training.micro_batch.size() == 1 ? 0 : rank],
         .compute_s = compute[rank],
         .wait_s = wait[rank],
         .late_share = steps.empty() ? 0 : late[rank] / count,
         .gain_s = gain[rank],
         .memory = memory});
    report.basis.push_back({.part = fmt::format("rank {} ({})", rank, report.ranks.back().gpu),
                            .kind = "measured",
                            .detail = fmt::format("this run, on {}", measured.devices[rank])});
  }
  report.bottleneck = who_is_to_blame(report);
  return report;
}

}  // namespace vitsim
