#include "calibrate/fit/run_summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/distribution.h"

namespace vitsim {

namespace {

double mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// A rank's logged seconds of one phase, by step or micro-step.
struct Timed {
  std::span<const double> values;
  std::int64_t warm_up = 0;
  std::string unit;
};

// An undisturbed series where there is one; else the disturbed one is better than none.
template <typename Find>
Timed find_series(const Measurement& measurement,
                  const std::string& run,
                  std::int64_t rank,
                  Find find) {
  const Sample* best = nullptr;
  for (const Sample& sample : measurement.samples) {
    const auto* series = sample.run == run ? find(sample) : nullptr;
    if (series != nullptr && series->rank == rank &&
        (best == nullptr || (best->disturbed && !sample.disturbed))) {
      best = &sample;
    }
  }
  if (best == nullptr) {
    return {};
  }
  return {best->figures(), best->warm_up, find(*best)->unit};
}

Timed find_phase(const Measurement& measurement,
                 const std::string& run,
                 std::int64_t rank,
                 StepPart part) {
  return find_series(
      measurement, run, rank, [&](const Sample& sample) { return sample.phase(part); });
}

Timed find_steps(const Measurement& measurement, const std::string& run, std::int64_t rank) {
  return find_series(
      measurement, run, rank, [](const Sample& sample) { return sample.as<StepSeries>(); });
}

std::vector<std::int64_t> logged_ranks(const Measurement& measurement, const std::string& run) {
  std::vector<std::int64_t> ranks;
  for (const Sample& sample : measurement.samples) {
    const auto* forward = sample.phase(StepPart::kForward);
    if (sample.run == run && forward != nullptr) {
      ranks.push_back(forward->rank);
    }
  }
  std::ranges::sort(ranks);
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

// Median over epochs of the mean over the full steps of each; one epoch uses the median of steps.
double typical(std::span<const double> values,
               std::size_t per_epoch,
               std::size_t epochs,
               std::size_t skip_last,
               std::size_t warm_up) {
  if (epochs <= 1) {
    const std::span<const double> settled = values.subspan(std::min(warm_up, values.size() - 1));
    return median(settled);
  }
  std::vector<double> means;
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    std::span<const double> part = values.subspan(epoch * per_epoch, per_epoch - skip_last);
    means.push_back(mean(part));
  }
  return median(means);
}

double typical_last(std::span<const double> values,
                    std::size_t per_epoch,
                    std::size_t epochs,
                    std::size_t skip_last) {
  std::vector<double> lasts;
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    lasts.push_back(mean(values.subspan((epoch + 1) * per_epoch - skip_last, skip_last)));
  }
  return median(lasts);
}

// Scatter of the logarithm from one step to the next: differences cancel slow drift by heat.
double scatter(std::span<const double> forward, std::span<const double> backward) {
  std::vector<double> differences;
  for (std::size_t i = 1; i < std::min(forward.size(), backward.size()); ++i) {
    const double now = forward[i] + backward[i];
    const double before = forward[i - 1] + backward[i - 1];
    if (now > 0 && before > 0) {
      differences.push_back(std::log(now / before));
    }
  }
  return differences.size() < 8 ? 0 : robust_sigma(differences) / std::sqrt(2.0);
}

// Every `accumulation`-th value, the ones of the boundary, where reduction and update happen.
std::vector<double> boundaries(std::span<const double> values, std::size_t accumulation) {
  std::vector<double> kept;
  for (std::size_t i = accumulation - 1; i < values.size(); i += accumulation) {
    kept.push_back(values[i]);
  }
  return kept;
}

std::optional<RankSummary> summarise_rank(const Measurement& measurement,
                                          const RunSummary& summary,
                                          std::int64_t rank) {
  const RecordedRun& run = *summary.run;
  const auto phase = [&](StepPart part) { return find_phase(measurement, run.name, rank, part); };
  const Timed forward = phase(StepPart::kForward);
  Timed backward = phase(StepPart::kBackwardCompute);
  if (backward.values.empty()) {
    backward = phase(StepPart::kBackward);
  }
  const Timed reduce = phase(StepPart::kGradientAllReduce);
  const Timed optimizer = phase(StepPart::kOptimizer);
  const std::size_t micro_steps = std::min(forward.values.size(), backward.values.size());
  if (micro_steps == 0) {
    return std::nullopt;
  }
  RankSummary result{.rank = rank};
  result.unit = forward.unit;
  const auto accumulation = static_cast<std::size_t>(run.accumulation);

  // Whole epochs only where the log holds them and micro-steps are steps.
  std::size_t per_epoch = micro_steps;
  std::size_t epochs = 1;
  std::size_t skip_last = 0;
  if (summary.plan && accumulation == 1) {
    const auto steps = static_cast<std::size_t>(summary.plan->steps);
    const auto& last = summary.plan->last[static_cast<std::size_t>(rank)];
    if (steps > 1 && micro_steps >= 2 * steps && micro_steps % steps == 0) {
      per_epoch = steps;
      epochs = micro_steps / steps;
      skip_last = summary.plan->last_is_short() ? 1 : 0;
      result.last_micro_batch = last.last;
    }
  }
  const auto warm_up = static_cast<std::size_t>(forward.warm_up);
  const auto full = [&](std::span<const double> values) {
    return values.empty() ? 0.0 : typical(values, per_epoch, epochs, skip_last, warm_up);
  };
  const auto at_boundary = [&](std::span<const double> values) {
    if (values.empty()) {
      return 0.0;
    }
    return accumulation == 1 ? full(values) : median(boundaries(values, accumulation));
  };
  result.full = {.forward_s = full(forward.values),
                 .backward_s = full(backward.values),
                 .all_reduce_s = at_boundary(reduce.values),
                 .optimizer_s = at_boundary(optimizer.values)};
  if (skip_last > 0) {
    const auto last = [&](std::span<const double> values) {
      return values.empty() ? 0.0 : typical_last(values, per_epoch, epochs, skip_last);
    };
    result.last = PhaseTimes{.forward_s = last(forward.values),
                             .backward_s = last(backward.values),
                             .all_reduce_s = last(reduce.values),
                             .optimizer_s = last(optimizer.values)};
  }
  result.step_sigma = scatter(forward.values.subspan(std::min(warm_up, micro_steps - 1)),
                              backward.values.subspan(std::min(warm_up, micro_steps - 1)));
  result.steps = static_cast<std::int64_t>(micro_steps / accumulation);

  for (const Sample& sample : measurement.samples) {
    const auto* whole = sample.as<EpochSeries>();
    if (whole != nullptr && sample.run == run.name && epochs > 1 &&
        whole->seconds.size() == epochs) {
      std::vector<double> rests;
      for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
        double phases = 0;
        for (std::size_t i = epoch * per_epoch; i < (epoch + 1) * per_epoch; ++i) {
          phases += forward.values[i] + backward.values[i] +
                    (reduce.values.empty() ? 0 : reduce.values[i]) +
                    (optimizer.values.empty() ? 0 : optimizer.values[i]);
        }
        rests.push_back(whole->seconds[epoch] - phases);
      }
      result.rest_s = std::max(0.0, median(rests));
    }
  }
  const Timed wall = find_steps(measurement, run.name, rank);
  if (!wall.values.empty()) {
    result.wall_step_s = median(wall.values.subspan(std::min(warm_up, wall.values.size() - 1)));
  }
  const Timed load = phase(StepPart::kDataLoad);
  if (!load.values.empty()) {
    result.data_load_s = median(load.values.subspan(std::min(warm_up, load.values.size() - 1)));
  }
  return result;
}

bool disturbed(const Measurement& measurement, const RecordedRun& run) {
  return std::ranges::any_of(measurement.samples, [&](const Sample& sample) {
    return sample.run == run.name && sample.disturbed &&
           sample.phase(StepPart::kForward) != nullptr;
  });
}

bool same_configuration(const RecordedRun& a, const RecordedRun& b) {
  return a.cluster == b.cluster && a.gpus == b.gpus && a.model == b.model &&
         a.precision == b.precision && a.optimizer == b.optimizer &&
         a.gradient_sync == b.gradient_sync && a.micro_batch == b.micro_batch &&
         a.accumulation == b.accumulation;
}

// Whether another visit saw the same without other load.
bool superseded(const Measurement& measurement, const RecordedRun& run) {
  return disturbed(measurement, run) &&
         std::ranges::any_of(measurement.runs, [&](const RecordedRun& other) {
           return same_configuration(run, other) && !disturbed(measurement, other);
         });
}

// Who comes last to an AllReduce waits for nobody: of each call the shortest time of all ranks is
// the wire's. Only where every rank was logged.
void find_wire(const Measurement& measurement, RunSummary& summary) {
  const RecordedRun& run = *summary.run;
  if (run.gpus.size() < 2 || summary.ranks.size() != run.gpus.size()) {
    return;
  }
  std::vector<double> shortest;
  std::size_t warm_up = 0;
  for (const RankSummary& rank : summary.ranks) {
    const Timed series = find_phase(measurement, run.name, rank.rank, StepPart::kGradientAllReduce);
    const std::vector<double> own =
        boundaries(series.values, static_cast<std::size_t>(run.accumulation));
    if (shortest.empty()) {
      shortest = own;
    }
    if (own.empty() || own.size() != shortest.size()) {
      return;
    }
    std::ranges::transform(
        own, shortest, shortest.begin(), [](double a, double b) { return std::min(a, b); });
    warm_up = static_cast<std::size_t>(series.warm_up / run.accumulation);
  }
  const double wire = median(std::span(shortest).subspan(std::min(warm_up, shortest.size() - 1)));
  for (RankSummary& rank : summary.ranks) {
    rank.wire_s = wire;
  }
}

// A log may tell of a million ranks: the fit asks each kind once.
std::vector<std::size_t> kinds_of(const RunSummary& summary) {
  std::vector<std::size_t> kinds;
  std::set<std::pair<std::string_view, std::int64_t>> seen;
  for (std::size_t rank = 0; rank < summary.run->gpus.size(); ++rank) {
    if (seen.emplace(summary.run->gpus[rank], summary.micro_batch(rank)).second) {
      kinds.push_back(rank);
    }
  }
  return kinds;
}

}  // namespace

double RankSummary::pure_all_reduce_s() const {
  if (wire_s) {
    return *wire_s;
  }
  if (!last || full.compute_s() <= 0) {
    return full.all_reduce_s;
  }
  constexpr double kNoise = 0.05;  // smaller differences say nothing about waiting
  const double share = last->compute_s() / full.compute_s();
  if (share > 0.8 || full.all_reduce_s < (1 + kNoise) * last->all_reduce_s) {
    return full.all_reduce_s;
  }
  return std::max((last->all_reduce_s - share * full.all_reduce_s) / (1 - share), 0.0);
}

double RunSummary::full_steps() const {
  if (!plan) {
    return 0;
  }
  double full = 0;
  double last = 0;
  for (std::size_t rank = 0; rank < plan->full.size(); ++rank) {
    full += static_cast<double>(plan->full[rank].samples());
    last += static_cast<double>(plan->last[rank].samples());
  }
  return static_cast<double>(plan->steps - 1) + last / full;
}

std::int64_t RunSummary::micro_batch(std::size_t rank) const {
  return run->micro_batch.size() == 1 ? run->micro_batch.front() : run->micro_batch[rank];
}

std::int64_t RunSummary::world_size() const {
  return static_cast<std::int64_t>(run->gpus.size());
}

double RunSummary::message_bytes() const {
  return std::ceil(gradient_bytes / static_cast<double>(run->gpus.size()));
}

bool RunSummary::phases_add_up() const {
  return run->wall_clock_breakdown || run->gpus.size() == 1;
}

std::string missing_facts(const RecordedRun& run) {
  std::vector<std::string> missing;
  if (run.model.name == kUnknown) {
    missing.emplace_back("its model is not known: give --model or --like");
  }
  if (run.micro_batch.empty()) {
    missing.emplace_back("its micro-batch is not known: give --micro-batch");
  } else if (run.micro_batch.size() > 1 && run.micro_batch.size() != run.gpus.size()) {
    missing.push_back(fmt::format("it has {} micro-batches for {} GPUs: give --micro-batch",
                                  run.micro_batch.size(),
                                  run.gpus.size()));
  }
  if (run.gpus.empty()) {
    missing.emplace_back("its GPUs are not known: give --gpus");
  }
  return fmt::format("{}", fmt::join(missing, "; "));
}

std::vector<RunSummary> summarise(const Measurement& measurement) {
  std::vector<RunSummary> summaries;
  for (const RecordedRun& run : measurement.runs) {
    if (superseded(measurement, run) || !missing_facts(run).empty()) {
      continue;
    }
    RunSummary summary{.run = &run};
    summary.kinds = kinds_of(summary);
    summary.gradient_bytes = static_cast<double>(parameter_count(run.model)) *
                             gradient_bytes_per_parameter(run.precision).value();
    if (run.samples > 0 && !run.gpus.empty() && !run.micro_batch.empty()) {
      summary.plan = plan_epoch(run.samples,
                                static_cast<std::int64_t>(run.gpus.size()),
                                run.micro_batch,
                                run.accumulation);
    }
    for (const Sample& sample : measurement.samples) {
      const auto* epochs = sample.as<EpochSeries>();
      if (epochs != nullptr && sample.run == run.name && !epochs->seconds.empty()) {
        summary.epoch_s = median(epochs->seconds);
      }
    }
    for (const std::int64_t rank : logged_ranks(measurement, run.name)) {
      if (rank < 0 || rank >= std::ssize(run.gpus)) {
        continue;  // nobody says what it ran on
      }
      if (auto phases = summarise_rank(measurement, summary, rank)) {
        summary.ranks.push_back(*phases);
      }
    }
    find_wire(measurement, summary);
    summaries.push_back(std::move(summary));
  }
  return summaries;
}

}  // namespace vitsim
