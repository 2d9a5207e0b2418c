#include "models/report/remarks.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/vit/compression.h"

namespace vitsim {

namespace {

/// Bytes of a collective's size that each rank puts on the wire, in units of (N-1)/N.
double wire_factor(const CommunicationRow& row) {
  return row.collective == "all-reduce" ? 2 : row.collective == "copy" ? 0 : 1;
}

class Remarks {
 public:
  Remarks(const TrainingSpec& training,
          const Report& report,
          const std::vector<RankLimits>& ranks,
          std::optional<double> plain_step_s)
      : training_(training),
        report_(report),
        ranks_(ranks),
        limits_(*std::ranges::min_element(
            ranks, {}, [&](const RankLimits& limits) { return room(limits); })),
        plain_step_s_(plain_step_s) {}

  std::vector<std::string> all() {
    if (report_.world_size > 1) {
      say_what_is_sent();
      say_what_compression_brings();
      say_what_local_updates_bring();
      say_why_stage_2_holds_more();
    }
    say_what_fits();
    say_what_uneven_shards_bring();
    return std::move(said_);
  }

 private:
  [[nodiscard]] MemoryParts parts_with(GradientSync sync) const {
    TrainingSpec other = training_;
    other.gradient_sync = sync;
    other.communication_hook.reset();
    other.local_updates.reset();
    other.offload = {};
    return memory_parts(
        other, gradient_ranks(), limits_.micro_batch, limits_.memory, held(limits_));
  }

  [[nodiscard]] MemoryParts parts_of(const RankLimits& limits) const {
    return memory_parts(
        training_, gradient_ranks(), limits.micro_batch, limits.memory, held(limits));
  }

  /// Ranks that hold the same part of the model.
  [[nodiscard]] std::int64_t gradient_ranks() const {
    return report_.world_size / training_.parallelism.model_ranks();
  }

  [[nodiscard]] StagePart held(const RankLimits& limits) const {
    return limits.held.value_or(StagePart{.part = training_.model});
  }

  [[nodiscard]] MemoryParts mine() const { return parts_of(limits_); }

  /// What is left of the GPU's memory; less than nothing where it does not fit.
  [[nodiscard]] double room(const RankLimits& limits) const {
    return limits.capacity.value_or(Bytes(0)).value() - parts_of(limits).total();
  }

  /// Of all gradients, in one AllReduce.
  [[nodiscard]] double ddp_wire() const {
    return 2 * static_cast<double>(parameter_count(training_.model)) *
           gradient_bytes_per_parameter(training_.precision).value();
  }

  [[nodiscard]] double wire() const {
    double bytes = 0;
    for (const CommunicationRow& row : report_.communication) {
      bytes += wire_factor(row) * row.bytes;
    }
    return bytes;
  }

  [[nodiscard]] double calls() const {
    double calls = 0;
    for (const CommunicationRow& row : report_.communication) {
      calls += row.collective == "copy" ? 0 : row.calls;
    }
    return calls;
  }

  [[nodiscard]] bool splits_state() const {
    return training_.gradient_sync != GradientSync::kDdp &&
           training_.gradient_sync != GradientSync::kDeepspeedZero0;
  }

  [[nodiscard]] std::string exposed() const {
    return fmt::format("exposed communication is {:.0f} % of the step",
                       100 * report_.exposed_communication_s / report_.step_s.p50);
  }

  /// ". With ddp a step would take 2.2 s, 19 % less".
  [[nodiscard]] std::string plain_step() const {
    if (!plain_step_s_) {
      return "";
    }
    const double times = *plain_step_s_ / report_.step_s.p50;
    return fmt::format(
        ". With {} a step would take {}, {}",
        name(plain_way(training_)->gradient_sync),
        human(Seconds(*plain_step_s_)),
        std::abs(times - 1) < 0.005
            ? "as long"
            : fmt::format("{:.0f} % {}", 100 * std::abs(times - 1), times < 1 ? "less" : "more"));
  }

  void say_what_is_sent() {
    if (!splits_state() || training_.parallelism.model_ranks() > 1) {
      return;
    }
    const double saved = parts_with(GradientSync::kDdp).total() - mine().total();
    said_.push_back(
        fmt::format("{} sends {:.2g} times the bytes of ddp, in {:.0f} calls a step; {}{}. "
                    "A rank holds {} {} than with ddp.",
                    name(training_.gradient_sync),
                    wire() / ddp_wire(),
                    calls(),
                    exposed(),
                    plain_step(),
                    human(Bytes(std::abs(saved))),
                    saved >= 0 ? "less" : "more"));
  }

  void say_what_compression_brings() {
    const bool hooked = training_.communication_hook.has_value();
    if (!hooked && !compresses(training_.optimizer.kind)) {
      return;
    }
    const double times = ddp_wire() / std::max(1.0, wire());
    const std::string what =
        hooked
            ? fmt::format("The {} hook",
                          kHookNames[static_cast<std::size_t>(training_.communication_hook->kind)])
            : std::string(name(training_.optimizer.kind));
    if (times < 1.05) {
      said_.push_back(fmt::format(
          "{} saves next to nothing in this run: it compresses from step {} on, and whole "
          "gradients "
          "travel before.",
          what,
          hooked ? training_.communication_hook->start_step : training_.optimizer.freeze_step));
      return;
    }
    said_.push_back(fmt::format(
        "{} sends {:.3g} times fewer bytes than whole gradients, in {:.0f} calls a step; {}{}.",
        what,
        times,
        calls(),
        exposed(),
        plain_step()));
  }

  void say_what_local_updates_bring() {
    if (!training_.local_updates) {
      return;
    }
    const LocalUpdatesSpec& updates = *training_.local_updates;
    if (updates.kind == LocalUpdatesKind::kCo2) {
      said_.push_back(
          fmt::format("co2 averages weights between nodes beside {} steps, gradients inside a node "
                      "in every step; "
                      "{}{}. How that changes the loss is not predicted.",
                      updates.every,
                      exposed(),
                      plain_step()));
      return;
    }
    said_.push_back(
        fmt::format("{} averages once in {} steps: a step sends {:.3g} times fewer bytes than with "
                    "ddp; {}{}. How "
                    "that changes the loss is not predicted.",
                    kLocalUpdatesNames[static_cast<std::size_t>(updates.kind)],
                    updates.every,
                    ddp_wire() / std::max(1.0, wire()),
                    exposed(),
                    plain_step()));
  }

  void say_why_stage_2_holds_more() {
    if (training_.gradient_sync != GradientSync::kDeepspeedZero2 ||
        training_.parallelism.model_ranks() > 1) {
      return;
    }
    const double stage_1 = parts_with(GradientSync::kDeepspeedZero1).total();
    const double stage_2 = mine().total();
    if (stage_2 <= stage_1) {
      return;
    }
    const double gradients = static_cast<double>(parameter_count(training_.model)) *
                             gradient_bytes_per_parameter(training_.precision).value();
    said_.push_back(
        fmt::format("deepspeed-zero-2 holds {} more than deepspeed-zero-1 here: a bucket of "
                    "reduce_bucket_size, {} elements, stands beside the activations in every "
                    "backward ({}), and "
                    "split gradients save only {}. A smaller reduce_bucket_size takes less.",
                    human(Bytes(stage_2 - stage_1)),
                    training_.zero.reduce_bucket_size,
                    human(Bytes(mine().buffers)),
                    human(Bytes(gradients * (1 - 1 / static_cast<double>(report_.world_size))))));
  }

  void say_what_fits() {
    if (!limits_.capacity || training_.parallelism.model_ranks() > 1) {
      return;
    }
    const double capacity = limits_.capacity->value();
    const double held = mine().total();
    const double ddp = parts_with(GradientSync::kDdp).total();
    if (held <= capacity) {
      if (splits_state() && ddp > capacity) {
        said_.push_back(
            fmt::format("With ddp a rank would hold {} and not fit its {}; {} holds {} and fits.",
                        human(Bytes(ddp)),
                        human(*limits_.capacity),
                        name(training_.gradient_sync),
                        human(Bytes(held))));
      }
      return;
    }
    const double split = parts_with(GradientSync::kDeepspeedZero3).total();
    const double units = parts_with(GradientSync::kFsdp).total();
    if (report_.world_size > 1 && std::min(split, units) <= capacity) {
      const bool by_units = units <= split;
      said_.push_back(
          fmt::format("A rank would hold {} and does not fit its {}; {} would hold {} and "
                      "fit.",
                      human(Bytes(held)),
                      human(*limits_.capacity),
                      name(by_units ? GradientSync::kFsdp : GradientSync::kDeepspeedZero3),
                      human(Bytes(by_units ? units : split))));
    } else {
      said_.push_back(fmt::format(
          "A rank would hold {} and does not fit its {}: activations take {}, weights, gradients "
          "and optimizer {}; no way to split them evenly among {} ranks fits at this micro-batch.",
          human(Bytes(held)),
          human(*limits_.capacity),
          human(Bytes(mine().activations)),
          human(Bytes(mine().weights + mine().gradients + mine().optimizer)),
          report_.world_size));
    }
  }

  /// Shards need not be equal: each GPU may hold what its memory leaves room for (Poplar, Cephalo).
  /// Said where equal ones do not fit and those would, or where shards differ.
  void say_what_uneven_shards_bring() {
    const bool splits_all = training_.gradient_sync == GradientSync::kDeepspeedZero3 ||
                            training_.gradient_sync == GradientSync::kFsdp;
    if (!splits_all || training_.parallelism.model_ranks() > 1) {
      return;
    }
    if (!training_.parallelism.shards.are_even()) {
      say_how_shards_differ();
      return;
    }
    const bool is_hybrid =
        training_.gradient_sync == GradientSync::kFsdp &&
        training_.fsdp.shard_ranks.value_or(report_.world_size) < report_.world_size;
    const bool all_fit = std::ranges::all_of(
        ranks_, [&](const RankLimits& limits) { return !limits.capacity || room(limits) >= 0; });
    const auto shares = is_hybrid || all_fit ? std::nullopt : shards_by_memory(training_, ranks_);
    if (!shares) {
      return;
    }
    std::vector<RankLimits> dealt = ranks_;
    for (std::size_t i = 0; i < dealt.size(); ++i) {
      dealt[i].held = held(ranks_[i]);
      dealt[i].held->shard = (*shares)[i];
      if (room(dealt[i]) < 0) {
        return;
      }
    }
    said_.push_back(fmt::format(
        "Shards of unequal size would fit: with \"training.parallelism.shards\": \"by-memory\" {} "
        "instead of {} each. Neither DeepSpeed nor PyTorch splits unevenly.",
        held_between(dealt),
        human(Bytes(state_of(limits_)))));
  }

  void say_how_shards_differ() {
    RankLimits even = limits_;
    even.held = held(limits_);
    even.held->shard.reset();
    said_.push_back(fmt::format(
        "Shards {}: {}; equal ones would be {} each. The largest takes longest to be updated and "
        "sent. Neither DeepSpeed nor PyTorch splits unevenly.",
        training_.parallelism.shards.by_memory ? "follow the memory that the GPUs have left"
                                               : "are as the file says",
        held_between(ranks_),
        human(Bytes(state_of(even)))));
  }

  /// Weights, gradients and optimizer state of one rank.
  [[nodiscard]] double state_of(const RankLimits& limits) const {
    const MemoryParts parts = parts_of(limits);
    return parts.weights + parts.gradients + parts.optimizer;
  }

  /// "ranks hold between 1 GB and 3 GB of weights, gradients and optimizer state".
  [[nodiscard]] std::string held_between(const std::vector<RankLimits>& ranks) const {
    double least = state_of(ranks.front());
    double most = least;
    for (const RankLimits& limits : ranks) {
      least = std::min(least, state_of(limits));
      most = std::max(most, state_of(limits));
    }
    return fmt::format("ranks hold between {} and {} of weights, gradients and optimizer state",
                       human(Bytes(least)),
                       human(Bytes(most)));
  }

  const TrainingSpec& training_;
  const Report& report_;
  const std::vector<RankLimits>& ranks_;
  const RankLimits& limits_;
  std::optional<double> plain_step_s_;
  std::vector<std::string> said_;
};

}  // namespace

std::optional<TrainingSpec> plain_way(const TrainingSpec& training) {
  TrainingSpec plain = training;
  plain.offload = {};
  if (compresses(training.optimizer.kind)) {
    plain.optimizer.kind = training.optimizer.kind == OptimizerKind::kOneBitLamb
                               ? OptimizerKind::kLamb
                               : OptimizerKind::kAdamW;
    return plain;
  }
  if (training.communication_hook || training.local_updates) {
    plain.communication_hook.reset();
    plain.local_updates.reset();
    return plain;
  }
  if (training.gradient_sync == GradientSync::kDdp ||
      training.gradient_sync == GradientSync::kDeepspeedZero0) {
    return std::nullopt;
  }
  plain.gradient_sync = GradientSync::kDdp;
  return plain;
}

std::vector<std::string> remarks(const TrainingSpec& training,
                                 const Report& report,
                                 const std::vector<RankLimits>& ranks,
                                 std::optional<double> plain_step_s) {
  return ranks.empty() ? std::vector<std::string>()
                       : Remarks(training, report, ranks, plain_step_s).all();
}

}  // namespace vitsim
