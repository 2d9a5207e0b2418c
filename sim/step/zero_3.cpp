#include "sim/step/sharded.h"

// DeepSpeed's ZeRO-3. Every micro-batch gathers the weights that its modules need, as
// models/vit/zero_3_gathers.h tells, and reduce-scatters its gradients. A call goes out when the
// module before it has been computed. Behind the update each tensor that all ranks keep whole is
// gathered by a call of its own.

namespace vitsim {

namespace {

/// One class's micro-batch.
class Zero3Writer {
 public:
  Zero3Writer(ProgramWriter& writer, const StepInput& input, const Zero3Plan& plan)
      : writer_(writer), input_(input), plan_(plan) {}

  /// Returns what the next micro-batch, or the update, waits for.
  std::vector<std::uint32_t> micro_batch(const MicroBatchSeconds& batch,
                                         double overlap_slowdown,
                                         const std::vector<std::uint32_t>& after) {
    const std::uint32_t loaded = writer_.load(batch);
    CutPass forward(writer_, Phase::kForward, batch.forward, overlap_slowdown);
    CutPass backward(writer_, Phase::kBackward, batch.backward, overlap_slowdown);
    CutPass* pass = &forward;
    pass->wait_for(loaded);
    for (const std::uint32_t each : after) {
      pass->wait_for(each);
    }
    done_ = pass->until(0);
    calls_.assign(plan_.gathers.calls.size(), {});
    waited_.assign(plan_.gathers.calls.size(), false);
    std::size_t bucket = 0;
    for (const Zero3Step& step : plan_.gathers.steps) {
      if (step.is_backward && pass == &forward) {
        done_ = forward.until(1);
        pass = &backward;
      }
      const bool waits = step.needs && !waited_[*step.needs];
      if ((waits || !step.issues.empty()) && pass->share() < step.begin) {
        done_ = pass->until(step.begin);
      }
      for (const std::size_t call : step.issues) {
        gather(call);
      }
      if (waits) {
        waited_[*step.needs] = true;
        for (const std::uint32_t each : calls_[*step.needs]) {
          pass->wait_for(each);
        }
      }
      while (step.is_backward && bucket < plan_.gradients.size() &&
             plan_.gradients[bucket].ready_share <= step.end &&
             plan_.gradients[bucket].ready_share < 1) {
        done_ = backward.until(plan_.gradients[bucket].ready_share);
        scatter(plan_.gradients[bucket++]);
        if (!plan_.overlaps) {
          pass->wait_for(last_.front());
        }
      }
    }
    done_ = backward.until(1);
    last_ = {done_};
    for (; bucket < plan_.gradients.size(); ++bucket) {
      scatter(plan_.gradients[bucket]);
    }
    return last_;
  }

 private:
  void gather(std::size_t call) {
    const std::int64_t bytes = plan_.gathers.calls[call] * plan_.weight_element;
    const std::int64_t ranks = input_.world_size();
    std::vector<std::uint32_t> after = {done_};
    if (plan_.host.parameters) {
      after = {writer_.copy(Phase::kParameterAllGather, writer_.shard_of(bytes, ranks), after)};
    }
    if (ranks > 1) {
      after = {writer_.collective(Phase::kParameterAllGather,
                                  collective_of(input_, CollectiveKind::kAllGather, bytes),
                                  after)};
    }
    calls_[call] = after;
  }

  void scatter(const SyncBucket& bucket) {
    last_ = {done_};
    if (input_.world_size() > 1 && bucket.bytes > 0) {
      last_ = {
          writer_.collective(Phase::kGradientAllReduce,
                             collective_of(input_, CollectiveKind::kReduceScatter, bucket.bytes),
                             last_)};
    }
  }

  ProgramWriter& writer_;
  const StepInput& input_;
  const Zero3Plan& plan_;
  std::vector<std::vector<std::uint32_t>> calls_;  // by call: what brings its parameters
  std::vector<bool> waited_;                       // by call
  std::uint32_t done_ = 0;                         // the last compute
  std::vector<std::uint32_t> last_;
};

}  // namespace

StepProgram zero_3_program(const StepInput& input, const Zero3Plan& plan) {
  const std::int64_t ranks = input.world_size();
  if (ranks < 2 && !plan.host.optimizer && !plan.host.parameters) {
    return alone_program(input);
  }
  std::vector<std::int64_t> persistent;
  for (const std::int64_t elements : plan.gathers.persistent) {
    persistent.push_back(elements * plan.weight_element);
  }
  return write_steps(
      input,
      everybody(input),
      [&](ProgramWriter& writer,
          const std::vector<MicroBatchSeconds>& batches,
          const ClassWork& work) {
        Zero3Writer step(writer, input, plan);
        std::vector<std::uint32_t> last;
        for (const MicroBatchSeconds& batch : batches) {
          last = step.micro_batch(batch, ranks > 1 ? work.overlap_slowdown : 1, last);
        }
        // The norm of all gradients, in 64 bits.
        write_sharded_update(writer, input, plan.host, {8}, persistent, ranks, std::move(last));
      });
}

}  // namespace vitsim
