#include "sim/step/writer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

std::uint32_t ProgramWriter::add(Stream stream,
                                 Phase phase,
                                 decltype(Operation::what) what,
                                 std::vector<std::uint32_t> after) {
  program_.operations.push_back(
      {.stream = stream, .phase = phase, .what = what, .after = std::move(after)});
  return static_cast<std::uint32_t>(program_.operations.size() - 1);
}

std::uint32_t ProgramWriter::compute(Phase phase, Compute what, std::vector<std::uint32_t> after) {
  const bool is_part = work_.replica && (phase == Phase::kForward || phase == Phase::kBackward);
  if (is_part && !is_scheduled_) {
    open_if_new(phase, what);
  }
  return is_part && open_ ? part_compute(phase, what, std::move(after))
                          : whole_compute(phase, what, std::move(after));
}

std::uint32_t ProgramWriter::whole_compute(Phase phase,
                                           Compute what,
                                           std::vector<std::uint32_t> after) {
  after.insert(after.end(), blocking_.begin(), blocking_.end());
  blocking_.clear();
  last_compute_ = add(Stream::kCompute, phase, what, std::move(after));
  return *last_compute_;
}

std::uint32_t ProgramWriter::collective(Phase phase,
                                        Collective what,
                                        std::vector<std::uint32_t> after,
                                        Stream stream) {
  return add(stream, phase, what, std::move(after));
}

std::uint32_t ProgramWriter::copy(Phase phase,
                                  std::int64_t bytes,
                                  std::vector<std::uint32_t> after) {
  const Seconds seconds = Bytes(static_cast<double>(bytes)) / work_.offload.copy;
  return add(Stream::kCopy,
             phase,
             Compute{.seconds = seconds, .on_gpu = false, .bytes = bytes},
             std::move(after));
}

std::uint32_t ProgramWriter::transfer(Phase phase,
                                      Transfer what,
                                      std::vector<std::uint32_t> after) {
  return add(Stream::kCommunication, phase, what, std::move(after));
}

std::uint32_t ProgramWriter::load(const MicroBatchSeconds& batch) {
  last_compute_ = add(Stream::kLoader,
                      Phase::kDataLoad,
                      Compute{.seconds = batch.data_load, .on_gpu = false},
                      last_compute());
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
  if (work_.replica) {
    return passes_until_last();
  }
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

std::int64_t ProgramWriter::shard_of(std::int64_t whole, std::int64_t ranks) const {
  return work_.shard
             ? static_cast<std::int64_t>(std::ceil(*work_.shard * static_cast<double>(whole)))
             : (whole + ranks - 1) / ranks;
}

std::uint32_t ProgramWriter::update(double parts, std::vector<std::uint32_t> after) {
  if (work_.replica && work_.replica->tied_axis) {
    const std::int64_t bytes = work_.replica->tied_bytes;
    const std::uint32_t axis = *work_.replica->tied_axis;
    after.push_back(*last_compute_);
    after = {
        collective(Phase::kGradientAllReduce,
                   {.kind = CollectiveKind::kAllReduce,
                    .algorithm = input_->axis_algorithm(axis, CollectiveKind::kAllReduce, bytes),
                    .bytes = bytes,
                    .axis = axis},
                   std::move(after))};
  }
  program_.update =
      compute(Phase::kOptimizer, {.seconds = work_.optimizer, .parts = parts}, std::move(after));
  return program_.update;
}

void ProgramWriter::other(std::vector<std::uint32_t> after) {
  compute(Phase::kOther, {.seconds = work_.other}, std::move(after));
}

std::uint32_t ProgramWriter::update_by_host(const HostState& host,
                                            std::int64_t ranks,
                                            std::vector<std::uint32_t> after) {
  const std::int64_t part = shard_of(host.elements, ranks);
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

// Of ranks that hold a part of the model. A pass is a list of pieces of compute with calls between
// them; whoever writes its compute, whole or up to some share, gets the calls up to there with it.
// Messages between stages block the sender, as Megatron's do.

const ChunkWork& ProgramWriter::chunk(const PipelinePass& pass) const {
  return work_.replica->chunks[static_cast<std::size_t>(pass.chunk)];
}

std::int64_t ProgramWriter::bytes(double per_sample) const {
  const std::vector<std::int64_t>& samples = work_.replica->samples;
  const auto batch = static_cast<std::size_t>(open_->pass.micro_batch);
  return batch < samples.size()
             ? static_cast<std::int64_t>(per_sample * static_cast<double>(samples[batch]))
             : 0;
}

/// How many stages further the pass comes from, or goes to; 0 where it begins or ends here.
std::int32_t ProgramWriter::neighbour(const PipelinePass& pass, bool receives) const {
  const std::optional<StageWork>& pipeline = work_.replica->pipeline;
  if (!pipeline) {
    return 0;
  }
  const auto chunks = static_cast<std::int64_t>(work_.replica->chunks.size());
  // Backward goes through the stages in reverse: against the direction of its messages.
  const bool towards_front = pass.is_forward == receives;
  const std::int64_t here = pass.chunk * pipeline->stages + pipeline->stage;
  const std::int64_t there = towards_front ? here - 1 : here + 1;
  if (there < 0 || there >= chunks * pipeline->stages) {
    return 0;
  }
  return static_cast<std::int32_t>(there % pipeline->stages - pipeline->stage);
}

/// Opens the next micro-batch's pass where `what` begins one.
void ProgramWriter::open_if_new(Phase phase, const Compute& what) {
  const bool is_forward = phase == Phase::kForward;
  const bool goes_on = open_ && open_->pass.is_forward == is_forward && !open_->is_over;
  if (what.from > 0 || goes_on) {
    return;
  }
  const std::int64_t batch = is_forward ? begun_forward_++ : begun_backward_++;
  open({.is_forward = is_forward, .micro_batch = batch});
}

/// Receives what the pass needs.
void ProgramWriter::open(const PipelinePass& pass) {
  open_ = OpenPass{.pass = pass};
  if (const std::int32_t from = neighbour(pass, true); from != 0) {
    const StageWork& pipeline = *work_.replica->pipeline;
    std::vector<std::uint32_t> after;
    if (last_compute_) {
      after.push_back(*last_compute_);
    }
    blocking_.push_back(
        transfer(Phase::kPipelineSend,
                 {.direction = Transfer::Direction::kReceive,
                  .bytes = bytes(pipeline.bytes_per_sample),
                  .axis = pass.is_forward ? pipeline.forward_axis : pipeline.backward_axis,
                  .distance = from},
                 std::move(after)));
  }
}

void ProgramWriter::call(const PassCall& what) {
  if (what.what == PassCall::What::kWait || what.what == PassCall::What::kRingStep) {
    if (beside_) {
      blocking_.push_back(*std::exchange(beside_, std::nullopt));
    }
    if (what.what == PassCall::What::kWait) {
      return;
    }
  }
  const std::int64_t size = bytes(what.bytes_per_sample);
  std::vector<std::uint32_t> after;
  if (last_compute_) {
    after.push_back(*last_compute_);
  }
  if (what.what == PassCall::What::kRingStep) {
    Transfer message{.bytes = size, .axis = what.axis, .distance = 1, .around = true};
    transfer(Phase::kTensorParallel, message, after);
    message.direction = Transfer::Direction::kReceive;
    message.distance = -1;
    beside_ = transfer(Phase::kTensorParallel, message, after);
    return;
  }
  const std::uint32_t made =
      collective(Phase::kTensorParallel,
                 {.kind = what.kind,
                  .algorithm = input_->axis_algorithm(what.axis, what.kind, size),
                  .bytes = size,
                  .axis = what.axis},
                 std::move(after));
  if (what.what == PassCall::What::kBeside) {
    beside_ = made;
  } else {
    blocking_.push_back(made);
  }
}

std::uint32_t ProgramWriter::part_compute(Phase phase,
                                          Compute what,
                                          std::vector<std::uint32_t> after) {
  const ChunkWork& mine = chunk(open_->pass);
  const std::vector<PassCall>& calls =
      open_->pass.is_forward ? mine.forward_calls : mine.backward_calls;
  const double to = what.to;
  std::size_t& next = open_->next_call;
  for (; next < calls.size() && calls[next].at <= to; ++next) {
    const double at = std::max(calls[next].at, what.from);
    if (at > what.from || !after.empty()) {
      Compute piece = what;
      piece.to = at;
      whole_compute(phase, piece, std::exchange(after, {}));
      what.from = at;
    }
    call(calls[next]);
  }
  const std::uint32_t last = whole_compute(phase, what, std::move(after));
  if (to < 1 || open_->is_over) {
    return last;
  }
  open_->is_over = true;
  if (const std::int32_t peer = neighbour(open_->pass, false); peer != 0) {
    const StageWork& pipeline = *work_.replica->pipeline;
    blocking_.push_back(
        transfer(Phase::kPipelineSend,
                 {.direction = Transfer::Direction::kSend,
                  .bytes = bytes(pipeline.bytes_per_sample),
                  .axis = open_->pass.is_forward ? pipeline.forward_axis : pipeline.backward_axis,
                  .distance = peer},
                 {last}));
  }
  return last;
}

Seconds ProgramWriter::passes_until_last() {
  const ReplicaWork& replica = *work_.replica;
  is_scheduled_ = true;
  const auto batches = static_cast<std::int64_t>(replica.samples.size());
  if (batches == 0) {
    return Seconds(0);
  }
  const auto chunks = static_cast<std::int64_t>(replica.chunks.size());
  const StageWork alone;
  const StageWork& pipeline = replica.pipeline ? *replica.pipeline : alone;
  const std::vector<PipelinePass> order =
      pipeline_order(pipeline.schedule, pipeline.stages, pipeline.stage, chunks, batches);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const PipelinePass& pass = order[i];
    const auto batch = static_cast<std::size_t>(pass.micro_batch);
    if (pass.is_forward && pass.chunk == 0 && replica.loads_data) {
      blocking_.push_back(load(work_.micro_batches[batch]));
    }
    open(pass);
    if (!pass.is_forward && i + 1 == order.size()) {
      return chunk(pass).backward[batch];
    }
    compute(
        pass.is_forward ? Phase::kForward : Phase::kBackward,
        {.seconds = pass.is_forward ? chunk(pass).forward[batch] : chunk(pass).backward[batch]});
  }
  return Seconds(0);
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
  return input.axes.empty() ? std::vector<GroupAxis>(input.world_size() > 1 ? 1 : 0) : input.axes;
}

Collective collective_of(const StepInput& input,
                         CollectiveKind kind,
                         std::int64_t bytes,
                         std::uint32_t axis,
                         std::span<const std::uint32_t> members) {
  const bool is_split = !input.axes.empty();
  return {.kind = kind,
          .algorithm = is_split          ? input.axis_algorithm(axis, kind, bytes)
                       : input.algorithm ? input.algorithm(kind, bytes, members)
                                         : Algorithm::kRing,
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
