#include "sim/step/builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/precision.h"
#include "models/vit/buckets.h"
#include "models/vit/compression.h"
#include "models/vit/fsdp_units.h"
#include "models/vit/gradient_copies.h"
#include "models/vit/vit.h"

namespace vitsim {

namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

std::int64_t whole(Bytes bytes) {
  return static_cast<std::int64_t>(bytes.value());
}

/// What the libraries make of one training.
class Libraries {
 public:
  /// Of what `ranks` ranks hold alike.
  Libraries(const TrainingSpec& training, std::int64_t ranks, const ModelPart& part)
      : training_(training),
        part_(part),
        ranks_(ranks),
        elements_(parameter_count(part)),
        element_(whole(gradient_bytes_per_parameter(training.precision))) {}

  [[nodiscard]] std::vector<SyncBucket> reducer_buckets() const {
    return synced(gradient_buckets(part_, Bytes(static_cast<double>(element_))));
  }

  /// What DDP sends where a hook compresses its buckets.
  [[nodiscard]] std::vector<SyncBucket> hooked_buckets() const {
    const HookSpec& hook = *training_.communication_hook;
    std::vector<SyncBucket> buckets = reducer_buckets();
    const std::vector<GradientBucket> gradients =
        gradient_buckets(part_, Bytes(static_cast<double>(element_)));
    for (std::size_t i = 0; i < buckets.size(); ++i) {
      if (hook.kind == HookKind::kPowerSgd) {
        const PowerSgdElements sent = power_sgd_elements(part_, gradients[i].tensors, hook.rank);
        for (const std::int64_t elements : {sent.plain, sent.left, sent.right}) {
          if (elements > 0) {
            buckets[i].compressed.push_back(elements * element_);
          }
        }
      } else {
        buckets[i].compressed = {buckets[i].bytes / element_ * 2};
      }
    }
    return buckets;
  }

  [[nodiscard]] std::vector<SyncBucket> flat() const { return flat_buckets(elements_, element_); }

  [[nodiscard]] std::vector<SyncBucket> zero_buckets() const {
    return synced(deepspeed_buckets(
        part_, Bytes(static_cast<double>(element_)), training_.zero.reduce_bucket_size));
  }

  /// ZeRO-1 and ZeRO-2. Parts are padded to a multiple of two elements a rank; the AllGather is cut
  /// into as many calls as whole `allgather_bucket_size` it holds.
  [[nodiscard]] ShardPlan zero(bool overlaps_unless_told) const {
    const std::int64_t padded = divide_up(elements_, 2 * ranks_) * 2 * ranks_;
    const std::int64_t calls =
        std::max<std::int64_t>(1, padded / training_.zero.allgather_bucket_size);
    ShardPlan plan{.gradients = zero_buckets(),
                   .scalars = scalars(),
                   .overlaps = training_.zero.overlap_comm.value_or(overlaps_unless_told),
                   .rooted = !training_.zero.multi_rank_bucket_allreduce,
                   .host = host()};
    for (std::int64_t call = 0; call < calls; ++call) {
      plan.parameters.push_back((padded * (call + 1) / calls - padded * call / calls) * element_);
    }
    return plan;
  }

  [[nodiscard]] Zero3Plan zero_3() const {
    return {.gathers = zero_3_gathers(part_, training_.zero),
            .weight_element = element_,
            .gradients = zero_buckets(),
            .overlaps = training_.zero.overlap_comm.value_or(true),
            .host = host()};
  }

  [[nodiscard]] FsdpPlan fsdp() const {
    const FsdpUnits units = fsdp_units(part_);
    FsdpPlan plan{.root = units.root,
                  .gather_element = element_,
                  .reduce_element = whole(reduce_bytes_per_parameter(training_)),
                  .reshards = training_.fsdp.reshard_after_forward,
                  .shard_ranks = training_.fsdp.shard_ranks.value_or(0),
                  .host = host()};
    if (training_.clip_norm) {
      plan.scalars = {4};
    }
    for (const FsdpUnits::Block& block : units.blocks) {
      plan.blocks.push_back({.elements = block.elements, .begin = block.begin, .end = block.end});
    }
    return plan;
  }

  /// Bytes of packed signs: of every tensor, or, for LAMB, of the one flat momentum.
  [[nodiscard]] std::vector<std::int64_t> sign_bytes() const {
    if (training_.optimizer.kind == OptimizerKind::kOneBitLamb) {
      return {divide_up(elements_, 8)};
    }
    std::vector<std::int64_t> bytes;
    for (const ParameterTensor& tensor : parameters(part_)) {
      bytes.push_back(divide_up(tensor.elements(), 8));
    }
    return bytes;
  }

  [[nodiscard]] std::int64_t weight_bytes() const { return elements_ * element_; }

 private:
  static std::vector<SyncBucket> synced(const std::vector<GradientBucket>& gradients) {
    std::vector<SyncBucket> buckets;
    buckets.reserve(gradients.size());
    for (const GradientBucket& bucket : gradients) {
      buckets.push_back({.bytes = bucket.bytes, .ready_share = bucket.ready_share});
    }
    return buckets;
  }

  /// Everybody must know of an overflow in fp16, and of the norm that is clipped by.
  [[nodiscard]] std::vector<std::int64_t> scalars() const {
    std::vector<std::int64_t> bytes;
    if (training_.precision == Precision::kFp16) {
      bytes.push_back(4);
    }
    if (training_.clip_norm) {
      bytes.push_back(4);
    }
    return bytes;
  }

  [[nodiscard]] HostState host() const {
    return {.optimizer = training_.offload.optimizer != OffloadTarget::kNone,
            .parameters = training_.offload.parameters != OffloadTarget::kNone,
            .elements = elements_,
            .gradient_element = element_,
            .weight_element = element_};
  }

  const TrainingSpec& training_;
  const ModelPart& part_;
  std::int64_t ranks_;
  std::int64_t elements_;
  std::int64_t element_;
};

/// Of 0/1 Adam's first `steps` steps those in which variances are updated, and gradients travel
/// whole: 16 at every step, then 16 at every second, every fourth, ... (var_update_scaler).
double variance_updates(std::int64_t steps) {
  constexpr double kScaler = 16;
  return kScaler * std::log2(static_cast<double>(steps) / kScaler + 1);
}

/// 0/1 Adam's local steps once variances are frozen: its interval doubles up to 16.
constexpr std::int64_t kLongestLocalInterval = 16;

/// An update by Nesterov's momentum moves 20 bytes a parameter, one by AdamW 28.
constexpr double kOuterUpdate = 20.0 / 28.0;

TrainingPrograms compressed_programs(const TrainingSpec& training,
                                     const Libraries& libraries,
                                     const StepInput& input,
                                     std::int64_t steps) {
  const std::int64_t freeze = std::min(training.optimizer.freeze_step, steps);
  StepProgram plain = zero_0_program(input, libraries.flat());
  StepProgram compressed = one_bit_program(input, libraries.sign_bytes());
  if (training.optimizer.kind != OptimizerKind::kZeroOneAdam) {
    if (freeze == steps) {
      return {.usual = std::move(plain)};
    }
    TrainingPrograms programs{.usual = std::move(compressed)};
    if (freeze > 0) {
      programs.rare.push_back({.program = std::move(plain), .to = freeze});
    }
    return programs;
  }
  TrainingPrograms programs;
  if (freeze > 0) {
    const double updates = std::clamp(variance_updates(freeze), 1.0, static_cast<double>(freeze));
    programs.rare.push_back(
        {.program = std::move(plain),
         .to = freeze,
         .every = std::max<std::int64_t>(1, std::llround(static_cast<double>(freeze) / updates))});
  }
  if (freeze == steps) {
    programs.usual = std::move(compressed);
    return programs;
  }
  if (freeze > 0) {
    programs.rare.push_back({.program = compressed, .to = freeze});
  }
  programs.rare.push_back({.program = std::move(compressed),
                           .from = freeze,
                           .to = steps,
                           .every = kLongestLocalInterval});
  programs.usual = local_program(input, 0, 0);
  return programs;
}

TrainingPrograms local_programs(const TrainingSpec& training,
                                const Libraries& libraries,
                                const StepInput& input,
                                std::int64_t steps) {
  const LocalUpdatesSpec& updates = *training.local_updates;
  if (updates.kind == LocalUpdatesKind::kCo2) {
    return {.usual = co2_program(
                input, libraries.reducer_buckets(), libraries.weight_bytes(), updates.every)};
  }
  const double outer = updates.kind == LocalUpdatesKind::kDiloco ? kOuterUpdate : 0;
  StepProgram average = local_program(input, libraries.weight_bytes(), outer);
  if (updates.every == 1) {
    return {.usual = std::move(average)};
  }
  TrainingPrograms programs{.usual = local_program(input, 0, 0)};
  programs.rare.push_back({.program = std::move(average), .to = steps, .every = updates.every});
  return programs;
}

TrainingPrograms programs_of_part(const TrainingSpec& training,
                                  const StepInput& input,
                                  std::int64_t steps,
                                  const ModelPart& part) {
  const Libraries libraries(training, input.world_size(), part);
  if (training.local_updates) {
    return local_programs(training, libraries, input, steps);
  }
  if (compresses(training.optimizer.kind)) {
    return compressed_programs(training, libraries, input, steps);
  }
  switch (training.gradient_sync) {
    case GradientSync::kDdp: {
      StepProgram plain = ddp_program(input, libraries.reducer_buckets());
      if (!training.communication_hook) {
        return {.usual = std::move(plain)};
      }
      const HookSpec& hook = *training.communication_hook;
      const std::int64_t start =
          hook.kind == HookKind::kPowerSgd ? std::min(hook.start_step, steps) : 0;
      if (start == steps && steps > 0) {
        return {.usual = std::move(plain)};
      }
      TrainingPrograms programs{.usual = ddp_program(input, libraries.hooked_buckets())};
      if (start > 0) {
        programs.rare.push_back({.program = std::move(plain), .to = start});
      }
      return programs;
    }
    case GradientSync::kDeepspeedZero0:
      return {.usual = zero_0_program(input, libraries.flat())};
    case GradientSync::kDeepspeedZero1:
      return {.usual = zero_1_program(input, libraries.zero(false))};
    case GradientSync::kDeepspeedZero2:
      return {.usual = zero_2_program(input, libraries.zero(false))};
    case GradientSync::kDeepspeedZero3:
      return {.usual = zero_3_program(input, libraries.zero_3())};
    case GradientSync::kFsdp:
      return {.usual = fsdp_program(input, libraries.fsdp())};
    case GradientSync::kDistributedOptimizer:
      return {.usual = distributed_optimizer_program(input, libraries.flat())};
  }
  return {.usual = alone_program(input)};
}

}  // namespace

std::vector<SyncBucket> flat_buckets(std::int64_t elements, std::int64_t bytes_per_element) {
  constexpr std::int64_t kMostElements = 500'000'000;
  std::vector<SyncBucket> buckets;
  for (std::int64_t left = elements; left > 0; left -= kMostElements) {
    buckets.push_back({.bytes = std::min(left, kMostElements) * bytes_per_element});
  }
  return buckets;
}

std::optional<std::int64_t> hybrid_shard_ranks(const TrainingSpec& training, std::int64_t ranks) {
  const std::optional<std::int64_t>& shards = training.fsdp.shard_ranks;
  const bool is_hybrid = training.gradient_sync == GradientSync::kFsdp && shards && *shards < ranks;
  return is_hybrid ? shards : std::nullopt;
}

bool copies_gradients(const TrainingSpec& training, std::size_t world_size) {
  return world_size > 1 || flattens_gradients(training);
}

TrainingPrograms training_programs(const TrainingSpec& training,
                                   const StepInput& input,
                                   std::int64_t steps) {
  const auto part_of = [&](const ClassWork& work) {
    return work.part.value_or(ModelPart(training.model));
  };
  const bool is_one_part = std::ranges::all_of(input.classes, [&](const ClassWork& work) {
    return part_of(work) == part_of(input.classes.front());
  });
  if (is_one_part) {
    return programs_of_part(training, input, steps, part_of(input.classes.front()));
  }
  // Ranks reduce the gradients of what they hold with those who hold the same: the classes of each
  // part are written on their own.
  const StepProgram empty{.classes = std::vector<ClassProgram>(input.classes.size()),
                          .class_of = input.class_of,
                          .axes = input.axes,
                          .collective_overhead = input.collective_overhead};
  TrainingPrograms programs{.usual = empty};
  std::vector<bool> written(input.classes.size());
  for (std::size_t first = 0; first < input.classes.size(); ++first) {
    if (written[first]) {
      continue;
    }
    const ModelPart part = part_of(input.classes[first]);
    StepInput own = input;
    own.classes.clear();
    own.class_of.clear();
    std::vector<std::size_t> numbers;
    for (std::size_t i = first; i < input.classes.size(); ++i) {
      if (part_of(input.classes[i]) == part) {
        own.classes.push_back(input.classes[i]);
        numbers.push_back(i);
        written[i] = true;
      }
    }
    TrainingPrograms made = programs_of_part(training, own, steps, part);
    const auto take = [&](StepProgram& target, StepProgram& source) {
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        target.classes[numbers[i]] = std::move(source.classes[i]);
      }
    };
    take(programs.usual, made.usual);
    // Which steps are rare is the training's, whatever the part.
    for (std::size_t i = 0; i < made.rare.size(); ++i) {
      if (i == programs.rare.size()) {
        RareSteps& rare = programs.rare.emplace_back(made.rare[i]);
        rare.program = empty;
      }
      take(programs.rare[i].program, made.rare[i].program);
    }
  }
  return programs;
}

StepProgram build_program(const TrainingSpec& training, const StepInput& input) {
  return training_programs(training, input, std::numeric_limits<std::int64_t>::max()).usual;
}

}  // namespace vitsim
