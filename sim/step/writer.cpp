#include "sim/step/writer.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

std::uint32_t ProgramWriter::compute(Phase phase, Compute what, std::vector<std::uint32_t> after) {
  program_.operations.push_back(
      {.stream = Stream::kCompute, .phase = phase, .what = what, .after = std::move(after)});
  last_compute_ = static_cast<std::uint32_t>(program_.operations.size() - 1);
  return *last_compute_;
}

std::uint32_t ProgramWriter::collective(Phase phase,
                                        Collective what,
                                        std::vector<std::uint32_t> after) {
  program_.operations.push_back(
      {.stream = Stream::kCommunication, .phase = phase, .what = what, .after = std::move(after)});
  return static_cast<std::uint32_t>(program_.operations.size() - 1);
}

void ProgramWriter::forward(const MicroBatchSeconds& batch) {
  std::vector<std::uint32_t> after;
  if (last_compute_) {
    after.push_back(*last_compute_);
  }
  program_.operations.push_back({.stream = Stream::kLoader,
                                 .phase = Phase::kDataLoad,
                                 .what = Compute{.seconds = batch.data_load, .on_gpu = false},
                                 .after = std::move(after)});
  const auto load = static_cast<std::uint32_t>(program_.operations.size() - 1);
  compute(Phase::kForward, {.seconds = batch.forward}, {load});
}

Seconds ProgramWriter::until_last_backward(std::size_t count) {
  const std::size_t missing = count - work_.micro_batches.size();
  for (std::size_t i = 0; i < count; ++i) {
    const MicroBatchSeconds batch =
        i < missing ? MicroBatchSeconds{} : work_.micro_batches[i - missing];
    forward(batch);
    if (i + 1 < count) {
      compute(Phase::kBackward, {.seconds = batch.backward});
    }
  }
  return work_.micro_batches.empty() ? Seconds(0) : work_.micro_batches.back().backward;
}

std::uint32_t ProgramWriter::update(double parts, std::vector<std::uint32_t> after) {
  program_.update =
      compute(Phase::kOptimizer, {.seconds = work_.optimizer, .parts = parts}, std::move(after));
  return program_.update;
}

void ProgramWriter::other(std::vector<std::uint32_t> after) {
  compute(Phase::kOther, {.seconds = work_.other}, std::move(after));
}

std::size_t most_micro_batches(const StepInput& input) {
  std::size_t most = 0;
  for (const ClassWork& work : input.classes) {
    most = std::max(most, work.micro_batches.size());
  }
  return most;
}

std::vector<SyncBucket> checked_buckets(std::span<const SyncBucket> buckets) {
  std::vector<SyncBucket> kept;
  double share = 0;
  for (const SyncBucket& bucket : buckets) {
    if (bucket.bytes < 0 || !(bucket.ready_share >= share && bucket.ready_share <= 1)) {
      throw UserError(
          fmt::format("gradient bucket of {} bytes, ready after {} of backward: sizes must not be "
                      "negative, shares must rise to 1",
                      bucket.bytes,
                      bucket.ready_share));
    }
    share = bucket.ready_share;
    if (bucket.bytes > 0) {
      kept.push_back(bucket);
    }
  }
  return kept;
}

Collective all_reduce_of(const StepInput& input, std::int64_t bytes) {
  return {.kind = CollectiveKind::kAllReduce,
          .algorithm = input.all_reduce ? input.all_reduce(bytes) : Algorithm::kRing,
          .bytes = bytes};
}

}  // namespace vitsim
