#include "sim/predict/ring_latency.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/error.h"

namespace vitsim {

namespace {

// Everybody starts at once; none where only messages one by one would tell, and they are too many.
std::optional<Tick> time_of(const Communicator& group, Algorithm algorithm, std::int64_t bytes) {
  const std::vector<Tick> starts(group.size(), 0);
  if (auto arrays = group.arrays_or_estimate(CollectiveKind::kAllReduce, algorithm, bytes)) {
    std::vector<Tick> ends(group.size());
    arrays->run(starts, ends);
    return std::ranges::max(ends);
  }
  if (group.size() > kMostRanksOfExactTrees) {
    return std::nullopt;
  }
  return std::ranges::max(group.run(CollectiveKind::kAllReduce, algorithm, bytes, starts));
}

// All of the AllReduces by what `word` stands for; none where the cluster has not what it needs.
std::optional<Tick> time_by(const Communicator& group,
                            AllReduceAlgorithm word,
                            const std::vector<Collective>& all_reduces) {
  Tick sum = 0;
  for (const Collective& call : all_reduces) {
    std::optional<Tick> time;
    try {
      time = time_of(group, group.resolve(word, call.bytes), call.bytes);
    } catch (const UserError&) {
      return std::nullopt;
    }
    if (!time) {
      return std::nullopt;
    }
    sum += *time;
  }
  return sum;
}

}  // namespace

std::optional<std::string> ring_latency_sentence(const ResolvedJob& job) {
  const Communicator& group = *job.group;
  std::vector<Collective> all_reduces;
  for (const Operation& operation : job.full->classes.front().operations) {
    const Collective* const call = operation.collective();
    if (call != nullptr && call->kind == CollectiveKind::kAllReduce && is_ring(call->algorithm) &&
        job.full->axes[call->axis].groups.empty()) {
      all_reduces.push_back(*call);
    }
  }
  Tick whole = 0;
  Tick latency = 0;
  for (const Collective& call : all_reduces) {
    // A byte for each rank is all latency.
    const auto least = static_cast<std::int64_t>(group.size());
    const auto time = time_of(group, call.algorithm, call.bytes);
    const auto empty = time_of(group, call.algorithm, std::min(least, call.bytes));
    if (!time || !empty) {
      return std::nullopt;
    }
    whole += *time;
    latency += *empty;
  }
  if (all_reduces.empty() || 2 * latency <= whole) {
    return std::nullopt;
  }
  std::optional<Tick> best;
  std::string_view best_name;
  for (std::size_t i = 0; i < kAllReduceNames.size(); ++i) {
    const auto word = static_cast<AllReduceAlgorithm>(i);
    const auto time = time_by(group, word, all_reduces);
    if (time && (!best || *time < *best)) {
      best = time;
      best_name = name(word);
    }
  }
  std::string text = fmt::format(
      "The ring's latency rules: {} of the {} that the AllReduces of a step take on {} GPUs are "
      "latency, which grows with the GPUs.",
      human(to_seconds(latency)),
      human(to_seconds(whole)),
      group.size());
  if (best && *best < whole) {
    text += fmt::format(
        " With \"all_reduce\": \"{}\" they would take {}.", best_name, human(to_seconds(*best)));
  }
  return text;
}

}  // namespace vitsim
