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
                                        std::vector<std::uint32_t> after,
                                        Stream stream) {
  program_.operations.push_back(
      {.stream = stream, .phase = phase, .what = what, .after = std::move(after)});
  return static_cast<std::uint32_t>(program_.operations.size() - 1);
}

std::uint32_t ProgramWriter::copy(Phase phase,
                                  std::int64_t bytes,
                                  std::vector<std::uint32_t> after) {
  const Seconds seconds = Bytes(static_cast<double>(bytes)) / work_.offload.copy;
  program_.operations.push_back(
      {.stream = Stream::kCopy,
       .phase = phase,
       .what = Compute{.seconds = seconds, .on_gpu = false, .bytes = bytes},
       .after = std::move(after)});
  return static_cast<std::uint32_t>(program_.operations.size() - 1);
}

std::uint32_t ProgramWriter::load(const MicroBatchSeconds& batch) {
  program_.operations.push_back({.stream = Stream::kLoader,
                                 .phase = Phase::kDataLoad,
                                 .what = Compute{.seconds = batch.data_load, .on_gpu = false},
                                 .after = last_compute()});
  last_compute_ = static_cast<std::uint32_t>(program_.operations.size() - 1);
  return *last_compute_;
}

std::uint32_t ProgramWriter::forward(const MicroBatchSeconds& batch,
                                     std::vector<std::uint32_t> after) {
  after.insert(after.begin(), load(batch));
  return compute(Phase::kForward, {.seconds = batch.forward}, std::move(after));
}

std::vector<MicroBatchSeconds> ProgramWriter::micro_batches(std::size_t count) const {
  std::vector<MicroBatchSeconds> all(count - work_.micro_batches.size());
  all.insert(all.end(), work_.micro_batches.begin(), work_.micro_batches.end());
  return all;
}

Seconds ProgramWriter::until_last_backward(std::size_t count) {
  const std::vector<MicroBatchSeconds> batches = micro_batches(count);
  for (std::size_t i = 0; i < count; ++i) {
    forward(batches[i]);
    if (i + 1 < count) {
      compute(Phase::kBackward, {.seconds = batches[i].backward});
    }
  }
  return batches.empty() ? Seconds(0) : batches.back().backward;
}

std::uint32_t CutPass::until(double share) {
  const std::uint32_t done = writer_.compute(
      phase_,
      {.seconds = seconds_, .from = share_, .to = share, .overlap_slowdown = overlap_},
      std::move(after_));
  after_.clear();
  share_ = share;
  return done;
}

std::uint32_t ProgramWriter::update(double parts, std::vector<std::uint32_t> after) {
  program_.update =
      compute(Phase::kOptimizer, {.seconds = work_.optimizer, .parts = parts}, std::move(after));
  return program_.update;
}

void ProgramWriter::other(std::vector<std::uint32_t> after) {
  compute(Phase::kOther, {.seconds = work_.other}, std::move(after));
}

std::uint32_t ProgramWriter::update_by_host(const HostState& host,
                                            std::int64_t parts,
                                            std::vector<std::uint32_t> after) {
  const std::int64_t part = (host.elements + parts - 1) / parts;
  const std::uint32_t gradients =
      copy(Phase::kGradientAllReduce, part * host.gradient_element, std::move(after));
  program_.update = compute(
      Phase::kOptimizer,
      {.seconds = work_.offload.update_per_parameter * static_cast<double>(part), .on_gpu = false},
      {gradients});
  return host.parameters
             ? program_.update
             : copy(Phase::kParameterAllGather, part * host.weight_element, {program_.update});
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

std::vector<GroupAxis> everybody(const StepInput& input) {
  return std::vector<GroupAxis>(input.world_size() > 1 ? 1 : 0);
}

Collective collective_of(const StepInput& input,
                         CollectiveKind kind,
                         std::int64_t bytes,
                         std::uint32_t axis,
                         std::span<const std::uint32_t> members) {
  return {.kind = kind,
          .algorithm = input.algorithm ? input.algorithm(kind, bytes, members) : Algorithm::kRing,
          .bytes = bytes,
          .axis = axis};
}

Collective all_reduce_of(const StepInput& input, std::int64_t bytes) {
  return collective_of(input, CollectiveKind::kAllReduce, bytes);
}

std::vector<std::uint32_t> reduce_bucket(ProgramWriter& writer,
                                         const StepInput& input,
                                         const SyncBucket& bucket,
                                         std::vector<std::uint32_t> after) {
  const std::vector<std::int64_t> messages =
      bucket.compressed.empty() ? std::vector{bucket.bytes} : bucket.compressed;
  for (const std::int64_t bytes : messages) {
    after = {writer.collective(Phase::kGradientAllReduce, all_reduce_of(input, bytes), after)};
  }
  return after;
}

}  // namespace vitsim
