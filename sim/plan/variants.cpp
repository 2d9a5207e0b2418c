#include "sim/plan/variants.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/experiment/cluster.h"

namespace vitsim {

namespace {

constexpr const char* kSync = "training.gradient_sync";

constexpr const char* kShards = "training.parallelism.shards";

/// Only these may split the state unequally, and only without other splits.
bool may_shard_unevenly(std::string_view sync) {
  return sync == "fsdp" || sync == "deepspeed-zero-3";
}

/// Options that belong to ways of a name: what people change when gradients are synchronised.
struct SyncOption {
  std::string_view names_begin;
  std::vector<Override> set;
};

const std::vector<SyncOption>& sync_options() {
  static const std::vector<SyncOption> kOptions = {
      {"deepspeed-zero-1",
       {{"training.zero.overlap_comm", "true"}, {"training.zero.reduce_bucket_size", "50000000"}}},
      {"deepspeed-zero-2",
       {{"training.zero.overlap_comm", "true"}, {"training.zero.reduce_bucket_size", "50000000"}}},
      {"fsdp", {{"training.fsdp.reshard_after_forward", "false"}}}};
  return kOptions;
}

std::string last_part(const std::string& key) {
  const auto point = key.rfind('.');
  return point == std::string::npos ? key : key.substr(point + 1);
}

std::string describe(const std::vector<Override>& set) {
  std::string text;
  for (const Override& change : set) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", last_part(change.key), change.value);
  }
  return text;
}

/// Alternatives of one kind; the first is to leave it as it is.
using Alternatives = std::vector<std::vector<Override>>;

Alternatives ways_to_synchronise(const Experiment& base, const std::vector<std::string>& keep) {
  Alternatives ways = {{}};
  const std::string_view own = name(base.training.gradient_sync);
  for (const std::string_view sync : kGradientSyncNames) {
    if (sync != own && is_kept(keep, kSync)) {
      continue;
    }
    std::vector<Override> way;
    if (sync != own) {
      way.push_back({kSync, std::string(sync)});
      if (!base.training.parallelism.shards.are_even() && !may_shard_unevenly(sync)) {
        way.push_back({kShards, "even"});
      }
      ways.push_back(way);
    }
    for (const SyncOption& option : sync_options()) {
      const bool kept = std::ranges::any_of(
          option.set, [&](const Override& change) { return is_kept(keep, change.key); });
      if (option.names_begin == sync && !kept) {
        ways.push_back(way);
        ways.back().insert(ways.back().end(), option.set.begin(), option.set.end());
      }
    }
  }
  return ways;
}

// Tensor parallelism inside of a node, pipelines over as many ranks.
Alternatives degrees(const Experiment& base, const std::vector<std::string>& keep) {
  Alternatives ways = {{}};
  if (is_kept(keep, "training.parallelism")) {
    return ways;
  }
  std::size_t most = base.cluster.nodes.empty() ? 1 : base.cluster.nodes.front().gpus.size();
  for (const NodeSpec& node : base.cluster.nodes) {
    most = std::min(most, node.gpus.size());
  }
  const std::int64_t world = base.cluster.world_size();
  for (std::int64_t tensor = 1; tensor <= static_cast<std::int64_t>(most); tensor *= 2) {
    for (std::int64_t stages = 1; stages <= 8 && stages * tensor <= world; stages *= 2) {
      if (world % (tensor * stages) != 0 || (tensor == base.training.parallelism.tensor &&
                                             stages == base.training.parallelism.pipeline.stages)) {
        continue;
      }
      ways.push_back({{"training.parallelism.tensor", fmt::format("{}", tensor)}});
      if (!base.training.parallelism.shards.are_even()) {
        ways.back().push_back({kShards, "even"});
      }
      if (stages != base.training.parallelism.pipeline.stages) {
        ways.back().push_back({"training.parallelism.pipeline.stages", fmt::format("{}", stages)});
      }
    }
  }
  return ways;
}

Variant join(const std::vector<const std::vector<Override>*>& parts) {
  Variant variant;
  for (const std::vector<Override>* part : parts) {
    variant.set.insert(variant.set.end(), part->begin(), part->end());
  }
  variant.change = describe(variant.set);
  for (const Override& change : variant.set) {
    const bool is_about_communication =
        change.key == kSync || change.key == kShards || change.key == "training.all_reduce" ||
        change.key.starts_with("training.zero.") || change.key.starts_with("training.fsdp.");
    if (!is_about_communication) {
      variant.compute_key += fmt::format("{}={};", change.key, change.value);
    }
    variant.saves_memory = variant.saves_memory || change.key == "training.recompute";
  }
  return variant;
}

}  // namespace

bool is_kept(const std::vector<std::string>& keep, const std::string& key) {
  return std::ranges::any_of(
      keep, [&](const std::string& kept) { return key == kept || key.starts_with(kept + "."); });
}

std::vector<Variant> variants(const Experiment& base,
                              const std::vector<std::string>& keep,
                              const std::vector<VariedKey>& vary) {
  const Alternatives syncs = ways_to_synchronise(base, keep);
  const Alternatives splits = degrees(base, keep);
  Alternatives recompute = {{}};
  if (!is_kept(keep, "training.recompute")) {
    for (std::size_t way = 0; way < kRecomputeNames.size(); ++way) {
      if (static_cast<Recompute>(way) != base.training.recompute) {
        recompute.push_back({{"training.recompute", std::string(kRecomputeNames[way])}});
      }
    }
  }
  Alternatives all_reduce = {{}};
  if (!is_kept(keep, "training.all_reduce") &&
      base.training.all_reduce != AllReduceAlgorithm::kAuto) {
    all_reduce.push_back({{"training.all_reduce", "auto"}});
  }
  Alternatives varied;
  for (const SweepRow& row : sweep_rows(vary, 0, 1)) {
    varied.push_back(overrides_of(vary, row));
  }
  std::vector<Variant> result;
  if (!vary.empty()) {
    varied.insert(varied.begin(), std::vector<Override>());
  }
  for (const auto& changed : varied) {
    for (std::size_t sync = 0; sync < syncs.size(); ++sync) {
      for (std::size_t split = 0; split < splits.size(); ++split) {
        // Other ways to synchronise are tried with the file's degrees alone.
        if (sync > 0 && split > 0) {
          continue;
        }
        for (const auto& again : recompute) {
          for (const auto& algorithm : all_reduce) {
            result.push_back(join({&changed, &syncs[sync], &splits[split], &again, &algorithm}));
          }
        }
      }
    }
  }
  return result;
}

}  // namespace vitsim
