#include <numeric>

#include "sim/step/sharded.h"

// PyTorch's FSDP2: every encoder block is a unit, and the root is what is left (patches, class
// token, positions, last norm, head). Weights of a unit are gathered before it computes, one unit
// ahead, so that two gathered blocks are alive; the root's stay from forward to backward.
// In backward blocks are gathered again if they were given back, and each unit's gradients are
// reduce-scattered behind it.
//
// AllGathers and ReduceScatters have streams of their own in PyTorch, but the same links: two at
// once would each take half. They follow each other here, AllGathers first, as their stream has
// priority. With hybrid shards, the shards' sums travel between the replicas on a second stream:
// those links are others.

namespace vitsim {

namespace {

constexpr std::uint32_t kShards = 0;
constexpr std::uint32_t kReplicas = 1;

/// Ranks in order: shards lie among neighbours, replicas across.
std::vector<GroupAxis> hybrid_axes(std::uint32_t ranks, std::uint32_t shard_ranks) {
  std::vector<GroupAxis> axes = {{.name = "shard"}, {.name = "replica"}};
  for (std::uint32_t first = 0; first < ranks; first += shard_ranks) {
    std::vector<std::uint32_t>& group = axes[kShards].groups.emplace_back(shard_ranks);
    std::iota(group.begin(), group.end(), first);
  }
  for (std::uint32_t index = 0; index < shard_ranks; ++index) {
    std::vector<std::uint32_t>& group = axes[kReplicas].groups.emplace_back();
    for (std::uint32_t rank = index; rank < ranks; rank += shard_ranks) {
      group.push_back(rank);
    }
  }
  return axes;
}

/// The first group of an axis; none where everybody is one group.
std::span<const std::uint32_t> members_of(const std::vector<GroupAxis>& axes, std::uint32_t axis) {
  return axes.size() > 1 ? std::span<const std::uint32_t>(axes[axis].groups.front())
                         : std::span<const std::uint32_t>();
}

/// One class's step.
class FsdpStep {
 public:
  FsdpStep(ProgramWriter& writer,
           const StepInput& input,
           const FsdpPlan& plan,
           const std::vector<GroupAxis>& axes,
           std::int64_t shard_ranks)
      : writer_(writer), input_(input), plan_(plan), axes_(axes), shard_ranks_(shard_ranks) {}

  void micro_batch(const MicroBatchSeconds& batch, double overlap_slowdown) {
    const std::vector<FsdpUnit>& blocks = plan_.blocks;
    const std::size_t count = blocks.size();
    const std::vector<std::uint32_t> begin = writer_.last_compute();
    CutPass forward(writer_, Phase::kForward, batch.forward, overlap_slowdown);
    const auto root = gather(plan_.root, begin);
    std::vector<std::vector<std::uint32_t>> gathered(count);
    for (std::size_t i = 0; i < std::min<std::size_t>(2, count); ++i) {
      gathered[i] = gather(blocks[i].elements, begin);
    }
    forward.wait_for(writer_.load(batch));
    wait(forward, root);
    forward.until(blocks.front().begin);
    for (std::size_t i = 0; i < count; ++i) {
      wait(forward, gathered[i]);
      const std::uint32_t done = forward.until(blocks[i].end);
      if (i + 2 < count) {
        gathered[i + 2] = gather(blocks[i + 2].elements, {done});
      }
    }
    const std::uint32_t loss = forward.until(1);
    backward(batch, overlap_slowdown, loss);
  }

  [[nodiscard]] const std::vector<std::uint32_t>& last() const { return last_; }

 private:
  void backward(const MicroBatchSeconds& batch, double overlap_slowdown, std::uint32_t loss) {
    const std::vector<FsdpUnit>& blocks = plan_.blocks;
    std::vector<std::vector<std::uint32_t>> gathered(blocks.size());
    const auto gather_again = [&](std::size_t i, std::uint32_t after) {
      if (plan_.reshards) {
        gathered[i] = gather(blocks[i].elements, {after});
      }
    };
    gather_again(blocks.size() - 1, loss);
    CutPass pass(writer_, Phase::kBackward, batch.backward, overlap_slowdown);
    std::uint32_t done = pass.until(1 - blocks.back().end);
    for (std::size_t i = blocks.size(); i-- > 0;) {
      if (i > 0) {
        gather_again(i - 1, done);
      }
      if (i + 1 < blocks.size()) {
        scatter(blocks[i + 1].elements, done);
      }
      wait(pass, gathered[i]);
      done = pass.until(1 - blocks[i].begin);
    }
    scatter(blocks.front().elements, done);
    scatter(plan_.root, pass.until(1));
  }

  static void wait(CutPass& pass, const std::vector<std::uint32_t>& operations) {
    for (const std::uint32_t each : operations) {
      pass.wait_for(each);
    }
  }

  [[nodiscard]] std::span<const std::uint32_t> members(std::uint32_t axis) const {
    return members_of(axes_, axis);
  }

  /// The operations to wait for before a unit's weights are there.
  std::vector<std::uint32_t> gather(std::int64_t elements, std::vector<std::uint32_t> after) {
    const std::int64_t bytes = elements * plan_.gather_element;
    std::vector<std::uint32_t> there;
    if (plan_.host.parameters) {
      after = {writer_.copy(
          Phase::kParameterAllGather, (bytes + shard_ranks_ - 1) / shard_ranks_, after)};
      there = after;
    }
    if (shard_ranks_ > 1) {
      there = {writer_.collective(
          Phase::kParameterAllGather,
          collective_of(input_, CollectiveKind::kAllGather, bytes, kShards, members(kShards)),
          after)};
    }
    return there;
  }

  void scatter(std::int64_t elements, std::uint32_t after) {
    const std::int64_t bytes = elements * plan_.reduce_element;
    std::vector<std::uint32_t> sums = {after};
    if (shard_ranks_ > 1) {
      sums = {writer_.collective(
          Phase::kGradientAllReduce,
          collective_of(input_, CollectiveKind::kReduceScatter, bytes, kShards, members(kShards)),
          sums)};
    }
    last_ = sums;
    if (axes_.size() > 1) {
      const std::int64_t part = (bytes + shard_ranks_ - 1) / shard_ranks_;
      last_.push_back(writer_.collective(
          Phase::kGradientAllReduce,
          collective_of(input_, CollectiveKind::kAllReduce, part, kReplicas, members(kReplicas)),
          sums,
          Stream::kReplicas));
    }
  }

  ProgramWriter& writer_;
  const StepInput& input_;
  const FsdpPlan& plan_;
  const std::vector<GroupAxis>& axes_;
  std::int64_t shard_ranks_;
  std::vector<std::uint32_t> last_;
};

}  // namespace

StepProgram fsdp_program(const StepInput& input, const FsdpPlan& plan) {
  const std::int64_t ranks = input.world_size();
  if (ranks < 2 && !plan.host.optimizer && !plan.host.parameters) {
    return alone_program(input);
  }
  const std::int64_t shard_ranks = plan.shard_ranks > 0 ? plan.shard_ranks : ranks;
  const std::vector<GroupAxis> axes =
      shard_ranks < ranks
          ? hybrid_axes(static_cast<std::uint32_t>(ranks), static_cast<std::uint32_t>(shard_ranks))
          : everybody(input);
  return write_steps(input,
                     axes,
                     [&](ProgramWriter& writer,
                         const std::vector<MicroBatchSeconds>& batches,
                         const ClassWork& work) {
                       FsdpStep step(writer, input, plan, axes, shard_ranks);
                       for (const MicroBatchSeconds& batch : batches) {
                         step.micro_batch(batch, ranks > 1 ? work.overlap_slowdown : 1);
                       }
                       write_sharded_update(writer,
                                            input,
                                            plan.host,
                                            plan.scalars,
                                            {},
                                            shard_ranks,
                                            step.last(),
                                            members_of(axes, kShards));
                     });
}

}  // namespace vitsim
