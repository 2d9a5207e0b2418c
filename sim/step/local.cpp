#include <map>

#include "sim/step/writer.h"

// Ranks that train by themselves. Local SGD (Stich, 2019) averages the weights every so many steps,
// DiLoCo (Douillard et al., 2023) what they changed by, which an outer Nesterov step then applies;
// both block. CO2 (Sun et al., 2024) averages gradients inside a node every step, and weights
// between nodes beside the next `every` steps: a round stalls for max(0, AllReduce - every steps).
// A share of the AllReduce beside each step has the same mean.

namespace vitsim {

StepProgram local_program(const StepInput& input, std::int64_t average_bytes, double outer) {
  if (input.world_size() < 2) {
    return alone_program(input);
  }
  return write_program(input, [&](ProgramWriter& writer, Seconds backward, const ClassWork& work) {
    writer.compute(Phase::kBackward, {.seconds = backward});
    writer.update(1, {});
    std::vector<std::uint32_t> last;
    if (average_bytes > 0) {
      last = {writer.collective(
          Phase::kGradientAllReduce, all_reduce_of(input, average_bytes), writer.last_compute())};
      if (outer > 0) {
        last = {writer.compute(Phase::kOptimizer, {.seconds = work.optimizer * outer}, last)};
      }
    }
    writer.other(last);
  });
}

StepProgram co2_program(const StepInput& input,
                        std::span<const SyncBucket> buckets,
                        std::int64_t weight_bytes,
                        std::int64_t every) {
  if (input.world_size() < 2) {
    return alone_program(input);
  }
  const std::vector<SyncBucket> kept = checked_buckets(buckets);
  std::vector<GroupAxis> axes = {{.name = "data"}, {.name = "node"}};
  std::map<std::uint32_t, std::size_t> index;
  for (std::uint32_t i = 0; i < input.class_of.size(); ++i) {
    const auto [entry, fresh] =
        index.try_emplace(input.node_of.empty() ? i : input.node_of[i], axes[1].groups.size());
    if (fresh) {
      axes[1].groups.emplace_back();
    }
    axes[1].groups[entry->second].push_back(i);
  }
  const bool has_neighbours = axes[1].groups.size() < input.class_of.size();
  const bool has_others = axes[1].groups.size() > 1;
  if (!has_neighbours) {
    axes.pop_back();
  }
  return write_steps(
      input,
      axes,
      [&](ProgramWriter& writer,
          const std::vector<MicroBatchSeconds>& batches,
          const ClassWork& work) {
        std::vector<std::uint32_t> last;
        if (has_others) {
          last = {writer.collective(Phase::kGradientAllReduce,
                                    all_reduce_of(input, (weight_bytes + every - 1) / every),
                                    {},
                                    Stream::kReplicas)};
        }
        for (std::size_t i = 0; i < batches.size(); ++i) {
          writer.forward(batches[i]);
          CutPass backward(writer, Phase::kBackward, batches[i].backward, work.overlap_slowdown);
          if (has_neighbours && i + 1 == batches.size()) {
            const std::vector<std::uint32_t>& inside = axes[1].groups.front();
            for (const SyncBucket& bucket : kept) {
              const std::uint32_t ready = backward.until(bucket.ready_share);
              last.push_back(writer.collective(
                  Phase::kGradientAllReduce,
                  collective_of(input, CollectiveKind::kAllReduce, bucket.bytes, 1, inside),
                  {ready}));
            }
          }
          backward.until(1);
        }
        writer.update(1, std::move(last));
        writer.other();
      });
}

}  // namespace vitsim
