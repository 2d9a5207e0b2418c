#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "calibrate/import/collective_runs.h"
#include "calibrate/import/kineto.h"
#include "models/error.h"

namespace vitsim {

namespace {

/// The steps of all traces of one rank, in the order of their numbers.
struct RankSteps {
  std::vector<ProfiledStep> steps;
  std::string gpu;
};

void add_trace(const KinetoTrace& trace, std::int64_t rank, const std::string& run, RankSteps& to) {
  std::set<std::int64_t> known;
  std::ranges::transform(to.steps, std::inserter(known, known.end()), &ProfiledStep::number);
  for (const ProfiledStep& step : trace.steps) {
    if (known.contains(step.number)) {
      throw UserError(fmt::format("{}: a second trace of rank {} of {}", trace.origin, rank, run));
    }
  }
  to.steps.insert(to.steps.end(), trace.steps.begin(), trace.steps.end());
  std::ranges::stable_sort(to.steps, {}, &ProfiledStep::number);
  to.gpu = gpu_slug(trace.device);
}

template <typename Figure>
std::vector<double> figures_of(const std::vector<ProfiledStep>& steps, Figure figure) {
  std::vector<double> seconds;
  std::ranges::transform(steps, std::back_inserter(seconds), figure);
  return seconds;
}

/// Forward, backward and optimizer as the launches tell; of traces that tell none a third each of
/// forward's arithmetic.
void add_phases(const std::vector<ProfiledStep>& steps, std::int64_t rank, Piece& piece) {
  const auto add = [&](StepPart part, auto figure) {
    Sample sample = phase_sample(part, rank, figures_of(steps, figure));
    sample.warm_up = 0;  // the profiler's schedule has its own
    piece.samples.push_back(std::move(sample));
  };
  const bool told = std::ranges::any_of(
      steps, [](const ProfiledStep& step) { return step.phases_s.contains(StepPart::kForward); });
  if (told) {
    for (const StepPart part :
         {StepPart::kForward, StepPart::kBackwardCompute, StepPart::kOptimizer}) {
      add(part, [&](const ProfiledStep& step) {
        const auto found = step.phases_s.find(part);
        return found == step.phases_s.end() ? 0.0 : found->second;
      });
    }
    return;
  }
  piece.warnings.push_back(
      fmt::format("{}: rank {}: the trace does not tell forward from backward (no events of "
                  "autograd): a third of the compute is taken for forward",
                  piece.origin,
                  rank));
  add(StepPart::kForward, [](const ProfiledStep& step) { return step.compute_s / 3; });
  add(StepPart::kBackwardCompute, [](const ProfiledStep& step) { return step.compute_s * 2 / 3; });
}

void add_kernels(const std::vector<ProfiledStep>& steps, std::int64_t rank, Piece& piece) {
  std::set<std::pair<StepPart, KernelKind>> seen;
  for (const ProfiledStep& step : steps) {
    for (const auto& [key, seconds] : step.kinds_s) {
      seen.insert(key);
    }
  }
  for (const auto& key : seen) {
    piece.samples.push_back(
        {.series = KernelSeries{.kind = key.second,
                                .part = key.first,
                                .rank = rank,
                                .seconds = figures_of(steps, [&](const ProfiledStep& step) {
                                  const auto found = step.kinds_s.find(key);
                                  return found == step.kinds_s.end() ? 0.0 : found->second;
                                })}});
  }
}

void add_rank(const RankSteps& of, std::int64_t rank, Piece& piece) {
  const auto add = [&](Sample sample) {
    sample.warm_up = 0;
    piece.samples.push_back(std::move(sample));
  };
  add(step_sample(rank, figures_of(of.steps, &ProfiledStep::wall_s)));
  const auto part = [&](StepPart which, double ProfiledStep::*figure) {
    add(phase_sample(which, rank, figures_of(of.steps, figure)));
  };
  part(StepPart::kCompute, &ProfiledStep::compute_s);
  part(StepPart::kCommunication, &ProfiledStep::communication_s);
  part(StepPart::kOverlap, &ProfiledStep::overlap_s);
  const bool computes =
      std::ranges::any_of(of.steps, [](const ProfiledStep& step) { return step.compute_s > 0; });
  if (computes) {
    add_phases(of.steps, rank, piece);
    add_kernels(of.steps, rank, piece);
  }
}

/// Collectives of all ranks: of every instance the shortest duration.
class Collectives {
 public:
  void add(const KinetoTrace& trace) {
    std::map<std::pair<std::string, std::int64_t>, std::int64_t> next;
    for (const CollectiveSpan& span : trace.collectives) {
      // Every rank counts in the same order: collectives of a group are ordered.
      const std::int64_t order = next[{span.group, span.step}]++;
      const auto key = span.sequence ? std::tuple(span.group, std::int64_t{-1}, *span.sequence)
                                     : std::tuple(span.group, span.step, order);
      const auto [at, fresh] = shortest_.try_emplace(key, span);
      if (!fresh && span.seconds < at->second.seconds) {
        at->second = span;
      }
    }
  }

  void add_to(Piece& piece) const {
    std::map<std::tuple<MeasuredCollective, std::int64_t, std::int64_t>, std::vector<double>> sizes;
    for (const auto& [key, span] : shortest_) {
      const auto kind = collective_from_name(span.name);
      if (kind && span.bytes > 0) {
        sizes[{*kind, span.bytes, span.ranks}].push_back(span.seconds);
      }
    }
    for (auto& [key, seconds] : sizes) {
      const auto& [kind, bytes, ranks] = key;
      CollectiveSeries series{
          .kind = kind, .bytes = bytes, .backend = "nccl", .seconds = std::move(seconds)};
      if (ranks > 0) {
        series.ranks = ranks;
      }
      piece.samples.push_back({.series = std::move(series)});
    }
  }

 private:
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, CollectiveSpan> shortest_;
};

}  // namespace

Piece join_kineto_traces(std::span<const KinetoTrace> traces, const std::string& run) {
  VITSIM_CHECK(traces.empty(), ==, false);
  Piece piece{.origin = traces.front().origin, .run = run, .authority = Authority::kRankClock};
  std::map<std::int64_t, RankSteps> ranks;
  Collectives collectives;
  for (const KinetoTrace& trace : traces) {
    piece.warnings.insert(piece.warnings.end(), trace.warnings.begin(), trace.warnings.end());
    std::int64_t rank = trace.rank.value_or(0);
    while (!trace.rank && ranks.contains(rank)) {
      ++rank;
    }
    add_trace(trace, rank, run, ranks[rank]);
    if (trace.world_size) {
      piece.facts.world_size = trace.world_size;
    }
    collectives.add(trace);
  }
  for (const auto& [rank, steps] : ranks) {
    add_rank(steps, rank, piece);
  }
  collectives.add_to(piece);
  const std::string gpu = gpu_slug(traces.front().device);
  const std::int64_t world = piece.facts.world_size.value_or(std::ssize(ranks));
  if (!gpu.empty() && world == std::ssize(ranks)) {
    for (const auto& [rank, steps] : ranks) {
      piece.facts.gpus.push_back(steps.gpu);
    }
  } else if (!gpu.empty()) {
    piece.warnings.push_back(
        fmt::format("{}: traces of {} of {} ranks", piece.origin, ranks.size(), world));
  }
  piece.facts.wall_clock_breakdown = false;
  return piece;
}

}  // namespace vitsim
