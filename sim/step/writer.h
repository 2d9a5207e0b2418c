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
  std::uint32_t collective(Phase phase, Collective what, std::vector<std::uint32_t> after);

  std::uint32_t transfer(Phase phase, Transfer what, std::vector<std::uint32_t> after);

  /// Loading and forward of one micro-batch. Loading begins when the compute before it is over: its
  /// time is what the compute stream waits.
  void forward(const MicroBatchSeconds& batch);

  /// Micro-batches whole, but for the last one's backward, which is returned. Classes with fewer
  /// micro-batches than `count` do the missing ones in no time, so that all have the same
  /// operations.
  Seconds until_last_backward(std::size_t count);

  /// The update of the weights, one of `parts`, and what the rest of the step takes.
  std::uint32_t update(double parts, std::vector<std::uint32_t> after);
  void other(std::vector<std::uint32_t> after = {});

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
  void load(Seconds duration);
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

/// A program with every class written by `write`; with an axis of all ranks where there are
/// several, or with those of a split model.
template <class Write>
StepProgram write_program(const StepInput& input, Write write) {
  StepProgram program{.class_of = input.class_of, .collective_overhead = input.collective_overhead};
  if (!input.axes.empty()) {
    program.axes = input.axes;
  } else if (input.world_size() > 1) {
    program.axes.emplace_back();
  }
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

/// An AllReduce of so many bytes, by the algorithm that the training uses for them.
Collective all_reduce_of(const StepInput& input, std::int64_t bytes);

}  // namespace vitsim
