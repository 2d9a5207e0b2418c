#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sim/step/builder.h"
#include "sim/step/program.h"

namespace vitsim {

/// Writes down what one class of ranks does, operation by operation. Compute waits for the compute
/// before it by its stream alone; what else it waits for is told.
class ProgramWriter {
 public:
  /// `work` and `input` must outlive it.
  ProgramWriter(const ClassWork& work, const StepInput& input) : work_(work), input_(&input) {
    program_.slowdown = work.slowdown;
  }

  /// All returned numbers are indices of operations, to be waited for. A pass of a rank that holds
  /// a part of the model comes with what it calls within the replica, whoever writes it: what
  /// begins at share 0 behind a whole pass is the next micro-batch's.
  std::uint32_t compute(Phase phase, Compute what, std::vector<std::uint32_t> after = {});
  std::uint32_t collective(Phase phase,
                           Collective what,
                           std::vector<std::uint32_t> after,
                           Stream stream = Stream::kCommunication);

  /// What is computed next waits for this operation too.
  void hold_next(std::uint32_t operation) { blocking_.push_back(operation); }

  /// Bytes between host and device.
  std::uint32_t copy(Phase phase, std::int64_t bytes, std::vector<std::uint32_t> after);

  std::uint32_t transfer(Phase phase, Transfer what, std::vector<std::uint32_t> after);

  /// Loading and forward of one micro-batch. Loading begins when the compute before it is over: its
  /// time is what the compute stream waits. Forward waits for `after` too.
  std::uint32_t forward(const MicroBatchSeconds& batch, std::vector<std::uint32_t> after = {});

  /// Loading alone.
  std::uint32_t load(const MicroBatchSeconds& batch);

  /// The class's micro-batches. Classes with fewer than `count` do the missing ones in no time, so
  /// that all have the same operations.
  [[nodiscard]] std::vector<MicroBatchSeconds> micro_batches(std::size_t count) const;

  /// Micro-batches whole, but for the last one's backward, which is returned.
  Seconds until_last_backward(std::size_t count);

  /// The rank's part of something that `ranks` ranks split, rounded up.
  [[nodiscard]] std::int64_t shard_of(std::int64_t whole, std::int64_t ranks) const;

  /// The update of the rank's part of the weights that `ranks` ranks split, and what the rest of
  /// the step takes.
  std::uint32_t sharded_update(std::int64_t ranks, std::vector<std::uint32_t> after) {
    return update(work_.shard ? 1 / *work_.shard : static_cast<double>(ranks), std::move(after));
  }

  /// The update of the weights, one of `parts`.
  std::uint32_t update(double parts, std::vector<std::uint32_t> after);
  void other(std::vector<std::uint32_t> after = {});

  /// The update by the host: the gradients of the rank's part, one of `ranks`, go there behind
  /// `after`; the new weights come back, unless they stay there.
  std::uint32_t update_by_host(const HostState& host,
                               std::int64_t ranks,
                               std::vector<std::uint32_t> after);

  [[nodiscard]] const ClassWork& work() const { return work_; }

  /// The last compute, or loading before it; none at the beginning of a step.
  [[nodiscard]] std::vector<std::uint32_t> last_compute() const {
    return last_compute_ ? std::vector{*last_compute_} : std::vector<std::uint32_t>();
  }

  ClassProgram finish() { return std::move(program_); }

 private:
  /// The pass that is being written: cut by its calls, and between what it receives and sends.
  struct OpenPass {
    PipelinePass pass;
    std::size_t next_call = 0;
    bool is_over = false;
  };

  std::uint32_t add(Stream stream,
                    Phase phase,
                    decltype(Operation::what) what,
                    std::vector<std::uint32_t> after);
  std::uint32_t whole_compute(Phase phase, Compute what, std::vector<std::uint32_t> after);
  std::uint32_t part_compute(Phase phase, Compute what, std::vector<std::uint32_t> after);
  void call(const PassCall& what);
  Seconds passes_until_last();
  void open(const PipelinePass& pass);
  void open_if_new(Phase phase, const Compute& what);
  [[nodiscard]] std::int32_t neighbour(const PipelinePass& pass, bool receives) const;
  [[nodiscard]] const ChunkWork& chunk(const PipelinePass& pass) const;
  [[nodiscard]] std::int64_t bytes(double per_sample) const;

  const ClassWork& work_;
  const StepInput* input_;
  ClassProgram program_;
  std::optional<std::uint32_t> last_compute_;
  std::optional<OpenPass> open_;
  bool is_scheduled_ = false;       // passes are opened in a pipeline's order
  std::int64_t begun_forward_ = 0;  // passes, elsewhere
  std::int64_t begun_backward_ = 0;
  std::vector<std::uint32_t> blocking_;  // what the next compute waits for besides its stream
  std::optional<std::uint32_t> beside_;  // communication that runs beside a pass
};

/// The longest list of micro-batches of any class.
std::size_t most_micro_batches(const StepInput& input);

/// A pass of one micro-batch, cut where something begins or is waited for. Cuts stand at shares of
/// its work, so that all classes have the same operations.
class CutPass {
 public:
  CutPass(ProgramWriter& writer, Phase phase, Seconds seconds, double overlap_slowdown)
      : writer_(writer), phase_(phase), seconds_(seconds), overlap_(overlap_slowdown) {}

  /// What is computed from here on waits for this operation.
  void wait_for(std::uint32_t operation) { after_.push_back(operation); }

  /// Computes up to this share of the work.
  std::uint32_t until(double share);

  [[nodiscard]] double share() const { return share_; }

 private:
  ProgramWriter& writer_;
  Phase phase_;
  Seconds seconds_;
  double overlap_;
  double share_ = 0;
  std::vector<std::uint32_t> after_;
};

/// A program with every class written by `write`, which is given its micro-batches.
template <class Write>
StepProgram write_steps(const StepInput& input, std::vector<GroupAxis> axes, Write write) {
  StepProgram program{.class_of = input.class_of,
                      .axes = std::move(axes),
                      .collective_overhead = input.collective_overhead};
  const std::size_t count = most_micro_batches(input);
  for (const ClassWork& work : input.classes) {
    ProgramWriter writer(work, input);
    write(writer, writer.micro_batches(count), work);
    program.classes.push_back(writer.finish());
  }
  return program;
}

/// One axis of all ranks, where there are several; those of a split model.
std::vector<GroupAxis> everybody(const StepInput& input);

/// The same, with each class's micro-batches written up to the last backward, whose seconds `write`
/// is given.
template <class Write>
StepProgram write_program(const StepInput& input, Write write) {
  StepProgram program{.class_of = input.class_of,
                      .axes = everybody(input),
                      .collective_overhead = input.collective_overhead};
  const std::size_t micro_batches = most_micro_batches(input);
  for (const ClassWork& work : input.classes) {
    ProgramWriter writer(work, input);
    write(writer, writer.until_last_backward(micro_batches), work);
    program.classes.push_back(writer.finish());
  }
  return program;
}

/// Throws UserError for sizes and shares that cannot be; leaves out buckets without bytes.
std::vector<SyncBucket> checked_buckets(std::span<const SyncBucket> buckets);

/// A collective of so many bytes among everybody, or the groups of an axis that begin with
/// `members`, by the algorithm that the training uses for it.
Collective collective_of(const StepInput& input,
                         CollectiveKind kind,
                         std::int64_t bytes,
                         std::uint32_t axis = 0,
                         std::span<const std::uint32_t> members = {});

/// An AllReduce of so many bytes among everybody.
Collective all_reduce_of(const StepInput& input, std::int64_t bytes);

/// AllReduces of the bucket, one after another behind `after`; returns the last.
std::vector<std::uint32_t> reduce_bucket(ProgramWriter& writer,
                                         const StepInput& input,
                                         const SyncBucket& bucket,
                                         std::vector<std::uint32_t> after);

}  // namespace vitsim
