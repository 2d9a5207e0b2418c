#include "trainer/measured_report.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "models/distribution.h"
#include "models/report/accounting.h"
#include "models/report/attribution.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

constexpr double kNanosecond = 1e-9;
constexpr std::size_t kPhases = kPhaseNames.size();

// One step of one rank.
struct StepOfRank {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::vector<OperationTime> operations;  // in order of time
  std::vector<std::size_t> all_reduces;   // of `operations`: sums of gradients, in order
  std::int64_t update_ns = 0;             // the optimizer begins

  [[nodiscard]] std::int64_t wall_ns() const { return end_ns - begin_ns; }
};

using Step = std::vector<StepOfRank>;  // by rank

std::map<std::int64_t, Step> collect(const Measured& measured, std::size_t world) {
  std::map<std::int64_t, Step> steps;
  for (const StepTime& time : measured.steps) {
    if (time.full && !time.warm_up) {
      Step& step = steps[time.step];
      step.resize(world);
      StepOfRank& mine = step[static_cast<std::size_t>(time.rank)];
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
    // What brings gradients back has no bytes and waits for nobody.
    const bool brings_back = span.phase == Phase::kGradientAllReduce && span.bytes == 0;
    mine.operations.push_back(
        {.stream = span.phase == Phase::kGradientAllReduce ? Stream::kCommunication : span.stream,
         .phase = span.phase,
         .begin = span.begin_ns,
         .end = span.end_ns,
         .alone = brings_back ? span.end_ns - span.begin_ns : 0});
    if (span.phase == Phase::kOptimizer) {
      mine.update_ns = span.begin_ns;
    }
  }
  for (auto& [number, step] : steps) {
    for (StepOfRank& mine : step) {
      std::ranges::stable_sort(mine.operations, {}, &OperationTime::begin);
      for (std::size_t i = 0; i < mine.operations.size(); ++i) {
        const OperationTime& operation = mine.operations[i];
        if (operation.stream == Stream::kCommunication && operation.alone == 0) {
          mine.all_reduces.push_back(i);
        }
      }
    }
  }
  // A step that some rank did not finish says nothing.
  std::erase_if(steps, [](const auto& entry) {
    return std::ranges::any_of(entry.second,
                               [](const StepOfRank& mine) { return mine.wall_ns() == 0; });
  });
  return steps;
}

// What each sum takes when all ranks are there: as long as in the rank that came last to it.
void find_alone_times(Step& step) {
  std::size_t calls = step.front().all_reduces.size();
  for (const StepOfRank& mine : step) {
    calls = std::min(calls, mine.all_reduces.size());
  }
  const auto of = [](StepOfRank& mine, std::size_t call) -> OperationTime& {
    return mine.operations[mine.all_reduces[call]];
  };
  for (std::size_t call = 0; call < calls; ++call) {
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (StepOfRank& mine : step) {
      least = std::min(least, of(mine, call).end - of(mine, call).begin);
    }
    for (StepOfRank& mine : step) {
      of(mine, call).alone = least;
    }
  }
}

// Time in the last sum of gradients; what an optimizer that is sharded gathers afterwards is not
// one.
std::int64_t last_all_reduce_ns(const StepOfRank& mine) {
  std::int64_t last = 0;
  for (const std::size_t call : mine.all_reduces) {
    const OperationTime& operation = mine.operations[call];
    if (operation.begin < mine.update_ns) {
      last = operation.end - operation.begin;
    }
  }
  return last;
}

// Shares of the step by rank: who came last to its last AllReduce, which shows as the least time in
// it. Ties are split.
void count_late(const Step& step, std::vector<double>& late) {
  std::vector<std::int64_t> last;
  for (const StepOfRank& mine : step) {
    last.push_back(last_all_reduce_ns(mine));
  }
  const std::int64_t least = *std::ranges::min_element(last);
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

// Quartiles.
std::pair<double, double> middle_half(std::vector<double> values) {
  if (values.empty()) {
    return {0, 0};
  }
  std::ranges::sort(values);
  return {quantile_of_sorted(values, 0.25), quantile_of_sorted(values, 0.75)};
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
  for (auto& [number, step] : steps) {
    find_alone_times(step);
    double wall = 0;
    for (const StepOfRank& mine : step) {
      wall = std::max(wall, static_cast<double>(mine.wall_ns()) * kNanosecond);
    }
    walls.push_back(wall);
  }
  report.step_s = of_run(walls);

  std::vector<double> late(world);
  std::vector<double> compute(world);
  std::vector<double> wait(world);
  std::vector<std::vector<double>> computes;  // by step and rank
  const double count = static_cast<double>(steps.size());
  for (const auto& [number, step] : steps) {
    count_late(step, late);
    computes.emplace_back();
    for (const StepOfRank& mine : step) {
      computes.back().push_back(
          static_cast<double>(account(mine.operations, mine.begin_ns, mine.end_ns).compute()) *
          kNanosecond);
    }
  }
  // The parts shown are those of the step shown: of the steps about the median one, the middle
  // half.
  const auto [low, high] = middle_half(walls);
  std::vector<const Step*> typical;
  std::size_t index = 0;
  for (const auto& [number, step] : steps) {
    const double wall = walls[index++];
    if (wall >= low && wall <= high) {
      typical.push_back(&step);
    }
  }
  double mean_wall = 0;
  for (const Step* step : typical) {
    for (const StepOfRank& mine : *step) {
      mean_wall += static_cast<double>(mine.wall_ns()) * kNanosecond /
                   static_cast<double>(typical.size() * world);
    }
  }
  const double scale = mean_wall > 0 ? report.step_s.p50 / mean_wall : 1;
  for (const Step* step : typical) {
    const double share = scale * kNanosecond / static_cast<double>(typical.size());
    const double of_mean = share / static_cast<double>(world);
    for (std::size_t rank = 0; rank < world; ++rank) {
      const StepOfRank& mine = (*step)[rank];
      const StepAccount sums = account(mine.operations, mine.begin_ns, mine.end_ns);
      compute[rank] += share * static_cast<double>(sums.compute());
      wait[rank] += share * static_cast<double>(sums.wait);
      const auto add = [&](double& to, std::int64_t ticks) {
        to += of_mean * static_cast<double>(ticks);
      };
      add(report.phases.data_load_s, sums.phase(Phase::kDataLoad));
      add(report.phases.forward_s, sums.phase(Phase::kForward));
      add(report.phases.backward_s, sums.phase(Phase::kBackward));
      const std::int64_t gathers = sums.phase(Phase::kParameterAllGather);
      add(report.phases.gradient_all_reduce_s, sums.communication - gathers);
      add(report.phases.parameter_all_gather_s, gathers);
      add(report.phases.optimizer_s, sums.phase(Phase::kOptimizer));
      add(report.phases.other_s, sums.phase(Phase::kOther) + sums.idle);
      add(report.exposed_communication_s, sums.exposed);
      add(report.wait_s, sums.wait);
    }
  }
  add_utilisation(report, training, plan, measured);
  if (steps.empty()) {
    report.warnings.emplace_back("no full step after warm-up: phases and waiting are unknown");
  }

  // Of an epoch: by how much the slowest rank of each step would have been faster.
  const GainOf gain = [&](const std::vector<double>& factors) {
    double saved = 0;
    for (const std::vector<double>& step : computes) {
      double slowest = 0;
      double faster = 0;
      for (std::size_t rank = 0; rank < world; ++rank) {
        slowest = std::max(slowest, step[rank]);
        faster = std::max(faster, step[rank] * factors[rank]);
      }
      saved += (slowest - faster) / count;
    }
    return saved * static_cast<double>(plan.steps);
  };
  std::vector<AttributedRanks> entries;
  const auto places = rank_places(cluster);
  for (std::size_t rank = 0; rank < world; ++rank) {
    const NodeSpec& node = cluster.nodes[places[rank].node];
    entries.push_back(
        {.ranks = RankSet(static_cast<std::int64_t>(rank)),
         .gpu = node.gpus[places[rank].gpu].model,
         .node = node.name,
         .micro_batch = training.micro_batch[training.micro_batch.size() == 1 ? 0 : rank],
         .compute_s = compute[rank],
         .late_share = steps.empty() ? 0 : late[rank] / count});
  }
  report.world_size = static_cast<std::int64_t>(world);
  for (std::size_t rank = 0; rank < world; ++rank) {
    const AttributedRanks& mine = entries[rank];
    const auto peak = static_cast<double>(measured.peak_memory_bytes[rank]);
    RankMemory memory{.total_bytes = peak, .parts = {.constant = peak}};
    if (measured.peak_allocated_bytes[rank] > 0) {
      memory.allocated_bytes = static_cast<double>(measured.peak_allocated_bytes[rank]);
      memory.reserved_bytes = peak;
    }
    if (measured.memory_bytes[rank] > 0) {
      memory.capacity_bytes = static_cast<double>(measured.memory_bytes[rank]);
    }
    report.ranks.push_back({.rank = static_cast<std::int64_t>(rank),
                            .node = mine.node,
                            .gpu = mine.gpu,
                            .device = measured.devices[rank],
                            .micro_batch = mine.micro_batch,
                            .compute_s = mine.compute_s,
                            .wait_s = wait[rank],
                            .late_share = mine.late_share,
                            .gain_s = steps.empty() ? 0 : entry_gain_s(entries, rank, gain),
                            .memory = memory});
    if (measured.power[rank].peak_w > 0) {
      report.ranks.back().power = measured.power[rank];
    }
    // Every measured rank has times of its own.
    report.rank_classes.push_back({.count = 1,
                                   .first_rank = static_cast<std::int64_t>(rank),
                                   .node = mine.node,
                                   .gpu = mine.gpu,
                                   .micro_batch = mine.micro_batch,
                                   .compute_s = mine.compute_s,
                                   .wait_s = wait[rank],
                                   .late_share = mine.late_share,
                                   .gain_s = report.ranks.back().gain_s,
                                   .memory = memory});
    report.basis.push_back({.part = fmt::format("rank {} ({})", rank, report.ranks.back().gpu),
                            .kind = "measured",
                            .detail = fmt::format("this run, on {}", measured.devices[rank])});
  }
  report.verdict = attribute(report, entries, steps.empty() ? GainOf() : gain);
  return report;
}

}  // namespace vitsim
