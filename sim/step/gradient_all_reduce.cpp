#include "sim/step/gradient_all_reduce.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

SyncPlan deepspeed_plan(GradientSync mode, std::int64_t elements, std::int64_t bytes_per_element) {
  constexpr std::int64_t kMostElements = 500'000'000;
  SyncPlan plan{.mode = mode};
  for (std::int64_t left = elements; left > 0; left -= kMostElements) {
    plan.buckets.push_back({.bytes = std::min(left, kMostElements) * bytes_per_element});
  }
  return plan;
}

SyncCalls sync_calls(const SyncPlan& plan, const Communicator& group) {
  SyncCalls calls;
  if (group.size() == 1) {
    return calls;
  }
  const bool is_zero_1 = plan.mode == GradientSync::kDeepspeedZero1;
  double share = 0;
  for (const SyncBucket& bucket : plan.buckets) {
    if (bucket.bytes < 0 || !(bucket.ready_share >= share && bucket.ready_share <= 1)) {
      throw UserError(
          fmt::format("gradient bucket of {} bytes, ready after {} of backward: sizes must not be "
                      "negative, shares must rise to 1",
                      bucket.bytes,
                      bucket.ready_share));
    }
    share = bucket.ready_share;
    if (bucket.bytes == 0) {
      continue;
    }
    calls.reductions.push_back(
        {.kind = is_zero_1 ? CollectiveKind::kReduceScatter : CollectiveKind::kAllReduce,
         .algorithm = is_zero_1 ? Algorithm::kRing : group.resolve(plan.algorithm, bucket.bytes),
         .bytes = bucket.bytes,
         .ready_share = plan.mode == GradientSync::kDdp ? bucket.ready_share : 1});
    if (is_zero_1) {
      calls.gathers.push_back({.kind = CollectiveKind::kAllGather, .bytes = bucket.bytes});
    }
  }
  return calls;
}

std::optional<ArraySync> ArraySync::make(const Communicator& group,
                                         const SyncCalls& calls,
                                         Tick overhead) {
  ArraySync sync;
  sync.overhead_ = overhead;
  const auto add = [&](const std::vector<SyncCall>& from, std::vector<ArrayCollective>& to) {
    for (const SyncCall& call : from) {
      std::optional<ArrayCollective> arrays = group.arrays(call.kind, call.algorithm, call.bytes);
      if (!arrays) {
        return false;
      }
      to.push_back(std::move(*arrays));
    }
    return true;
  };
  if (add(calls.reductions, sync.reductions_) && add(calls.gathers, sync.gathers_)) {
    return sync;
  }
  return std::nullopt;
}

void ArraySync::run(ArrayCollective& collective,
                    std::span<const Tick> begins,
                    std::span<Tick> ends) {
  for (std::size_t i = 0; i < begins.size(); ++i) {
    ends[i] = begins[i] + overhead_;
  }
  collective.run(ends, ends);
}

}  // namespace vitsim
