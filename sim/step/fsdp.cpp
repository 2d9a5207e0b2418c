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
//
// A stage of a pipeline keeps what it has gathered, as PyTorch's pipelines do unless told otherwise
// (torchtitan's reshard_after_forward policy): a gather for each micro-batch would stand in the way
// of every pass. Its units are gathered once, before the first pass; gradients of all micro-batches
// are summed whole, and scattered behind the last. That the first pass could begin with its first
// unit alone is neglected.

namespace vitsim {

namespace {

/// The axes of a step, and which of them shards and replicas are on.
struct Mesh {
  std::vector<GroupAxis> axes;
  std::uint32_t shards = 0;
  std::optional<std::uint32_t> replicas;  // of hybrid shards

  /// The first group of an axis; none where everybody is one group.
  [[nodiscard]] std::span<const std::uint32_t> members(std::uint32_t axis) const {
    return axes.size() > 1 ? std::span<const std::uint32_t>(axes[axis].groups.front())
                           : std::span<const std::uint32_t>();
  }
};

Mesh mesh_of(const StepInput& input, std::int64_t shard_ranks) {
  if (input.hybrid) {
    return {.axes = input.axes, .shards = input.hybrid->shards, .replicas = input.hybrid->replicas};
  }
  if (!input.axes.empty() || shard_ranks == input.world_size()) {
    return {.axes = everybody(input)};
  }
  std::vector<std::uint32_t> ranks(static_cast<std::size_t>(input.world_size()));
  std::iota(ranks.begin(), ranks.end(), 0U);
  Mesh mesh{.axes = {{.name = "shard"}, {.name = "replica"}}, .replicas = 1};
  add_hybrid_groups(ranks, shard_ranks, mesh.axes[0], mesh.axes[1]);
  return mesh;
}

/// One class's step.
class FsdpStep {
 public:
  FsdpStep(ProgramWriter& writer,
           const StepInput& input,
           const FsdpPlan& plan,
           const Mesh& mesh,
           std::int64_t shard_ranks)
      : writer_(writer), input_(input), plan_(plan), mesh_(mesh), shard_ranks_(shard_ranks) {}

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

  /// All passes of a pipeline's stage.
  void stage(std::size_t micro_batches) {
    const auto hold = [&](std::int64_t elements) {
      for (const std::uint32_t each : gather(elements, {})) {
        writer_.hold_next(each);
      }
    };
    hold(plan_.root);
    for (const FsdpUnit& block : plan_.blocks) {
      hold(block.elements);
    }
    const Seconds last = writer_.until_last_backward(micro_batches);
    const std::uint32_t done = writer_.compute(Phase::kBackward, {.seconds = last});
    last_ = {done};
    for (std::size_t i = plan_.blocks.size(); i-- > 0;) {
      scatter(plan_.blocks[i].elements, done);
    }
    scatter(plan_.root, done);
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

  [[nodiscard]] Collective on(std::uint32_t axis, CollectiveKind kind, std::int64_t bytes) const {
    return collective_of(input_, kind, bytes, axis, mesh_.members(axis));
  }

  /// The operations to wait for before a unit's weights are there.
  std::vector<std::uint32_t> gather(std::int64_t elements, std::vector<std::uint32_t> after) {
    const std::int64_t bytes = elements * plan_.gather_element;
    std::vector<std::uint32_t> there;
    if (bytes == 0) {
      return there;  // of a stage between the ends of a pipeline: it has no root
    }
    if (plan_.host.parameters) {
      after = {
          writer_.copy(Phase::kParameterAllGather, writer_.shard_of(bytes, shard_ranks_), after)};
      there = after;
    }
    if (shard_ranks_ > 1) {
      there = {writer_.collective(
          Phase::kParameterAllGather, on(mesh_.shards, CollectiveKind::kAllGather, bytes), after)};
    }
    return there;
  }

  void scatter(std::int64_t elements, std::uint32_t after) {
    const std::int64_t bytes = elements * plan_.reduce_element;
    if (bytes == 0) {
      return;
    }
    std::vector<std::uint32_t> sums = {after};
    if (shard_ranks_ > 1) {
      sums = {writer_.collective(Phase::kGradientAllReduce,
                                 on(mesh_.shards, CollectiveKind::kReduceScatter, bytes),
                                 sums)};
    }
    last_ = sums;
    if (mesh_.replicas) {
      const std::int64_t part = writer_.shard_of(bytes, shard_ranks_);
      last_.push_back(writer_.collective(Phase::kGradientAllReduce,
                                         on(*mesh_.replicas, CollectiveKind::kAllReduce, part),
                                         sums,
                                         Stream::kReplicas));
    }
  }

  ProgramWriter& writer_;
  const StepInput& input_;
  const FsdpPlan& plan_;
  const Mesh& mesh_;
  std::int64_t shard_ranks_;
  std::vector<std::uint32_t> last_;
};

}  // namespace

void add_hybrid_groups(std::span<const std::uint32_t> members,
                       std::int64_t shard_ranks,
                       GroupAxis& shards,
                       GroupAxis& replicas) {
  const auto size = static_cast<std::size_t>(shard_ranks);
  for (std::size_t first = 0; first < members.size(); first += size) {
    const auto group = members.subspan(first, size);
    shards.groups.emplace_back(group.begin(), group.end());
  }
  for (std::size_t index = 0; index < size; ++index) {
    std::vector<std::uint32_t>& group = replicas.groups.emplace_back();
    for (std::size_t i = index; i < members.size(); i += size) {
      group.push_back(members[i]);
    }
  }
}

StepProgram fsdp_program(const StepInput& input, const FsdpPlan& plan) {
  const std::int64_t ranks = input.world_size();
  if (ranks < 2 && !plan.host.optimizer && !plan.host.parameters) {
    return alone_program(input);
  }
  const std::int64_t shard_ranks = plan.shard_ranks > 0 ? plan.shard_ranks : ranks;
  const Mesh mesh = mesh_of(input, shard_ranks);
  return write_steps(
      input,
      mesh.axes,
      [&](ProgramWriter& writer,
          const std::vector<MicroBatchSeconds>& batches,
          const ClassWork& work) {
        FsdpStep step(writer, input, plan, mesh, shard_ranks);
        if (work.replica && work.replica->pipeline) {
          step.stage(batches.size());
        } else {
          for (const MicroBatchSeconds& batch : batches) {
            step.micro_batch(batch, ranks > 1 ? work.overlap_slowdown : 1);
          }
        }
        write_sharded_update(
            writer, input, plan.host, plan.scalars, {}, shard_ranks, step.last(), mesh.members(0));
      });
}

}  // namespace vitsim
