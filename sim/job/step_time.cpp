#include "sim/job/step_time.h"

#include <cmath>

#include "models/vit/buckets.h"
#include "sim/collective/communicator.h"
#include "sim/step/gradient_all_reduce.h"

namespace vitsim {

namespace {

LinkData slowed_link(const LinkData& link, double factor) {
  LinkData slow{.latency = link.latency * factor,
                .bandwidth = link.bandwidth / factor,
                .traits = link.traits};
  slow.traits.switch_bandwidth = link.traits.switch_bandwidth / factor;
  if (link.curve) {
    slow.curve =
        std::make_shared<const LinkCurve>([curve = link.curve, factor](std::int64_t message_bytes) {
          const LinkFigures figures = (*curve)(message_bytes);
          return LinkFigures{.latency = figures.latency * factor,
                             .bandwidth = figures.bandwidth / factor};
        });
  }
  return slow;
}

double shard_count(const Scenario& scenario) {
  return scenario.training.gradient_sync == GradientSync::kDeepspeedZero1
             ? static_cast<double>(scenario.ranks.size())
             : 1.0;
}

std::vector<std::int64_t> cluster_ranks(const Scenario& scenario) {
  std::vector<std::int64_t> ranks;
  for (const ScenarioRank& rank : scenario.ranks) {
    ranks.push_back(rank.cluster_rank);
  }
  return ranks;
}

}  // namespace

NetworkData slowed(const NetworkData& network, double factor) {
  NetworkData slow = network;
  for (NodeData& node : slow.nodes) {
    if (node.nic) {
      node.nic = slowed_link(*node.nic, factor);
    }
    node.intra_node = slowed_link(node.intra_node, factor);
  }
  for (TrunkData& trunk : slow.trunks) {
    trunk.link = slowed_link(trunk.link, factor);
  }
  return slow;
}

SyncPlan sync_plan(const Scenario& scenario) {
  const TrainingSpec& training = scenario.training;
  const Bytes element = gradient_bytes_per_parameter(training.precision);
  SyncPlan plan;
  if (training.gradient_sync == GradientSync::kDdp) {
    plan.mode = GradientSync::kDdp;
    for (const GradientBucket& bucket : gradient_buckets(training.model, element)) {
      plan.buckets.push_back({.bytes = bucket.bytes, .ready_share = bucket.ready_share});
    }
    for (const ScenarioRank& rank : scenario.ranks) {
      plan.overlap_slowdown.push_back(rank.compute->overlap_slowdown);
    }
  } else {
    plan = deepspeed_plan(training.gradient_sync,
                          parameter_count(training.model),
                          static_cast<std::int64_t>(element.value()));
  }
  plan.algorithm = training.all_reduce;
  plan.collective_overhead = to_ticks(scenario.collective_overhead);
  return plan;
}

StepWork::StepWork(const Scenario& scenario,
                   std::span<const StepShape> shapes,
                   std::span<const double> factors)
    : micro_batches_(scenario.ranks.size()) {
  const double shards = shard_count(scenario);
  // DeepSpeed flattens gradients on one GPU as well; a script without other ranks copies nothing.
  const bool copies =
      scenario.ranks.size() > 1 || scenario.training.gradient_sync != GradientSync::kDdp;
  for (std::size_t index = 0; index < scenario.ranks.size(); ++index) {
    const ScenarioRank& rank = scenario.ranks[index];
    const StepShape& shape = shapes[index];
    const double factor = rank.slowdown * (factors.empty() ? 1 : factors[index]);
    const double load_factor = factors.empty() ? 1 : factors[index];
    for (std::int64_t i = 0; i < shape.count; ++i) {
      const MicroBatchTimes times =
          rank.compute->at(i + 1 == shape.count ? shape.last : shape.size);
      micro_batches_[index].push_back({.data_load = to_ticks(times.data_load * load_factor),
                                       .forward = to_ticks(times.forward * factor),
                                       .backward = to_ticks(times.backward * factor)});
    }
    ranks_.push_back({.micro_batches = micro_batches_[index],
                      .optimizer = to_ticks(rank.compute->optimizer * (factor / shards)),
                      .other = to_ticks(rank.compute->other * (copies ? factor : 0))});
  }
}

std::vector<RankCompute> rank_compute(const Scenario& scenario, std::span<const StepShape> shapes) {
  const StepWork work(scenario, shapes);
  std::vector<RankCompute> result;
  for (const RankWork& rank : work.ranks()) {
    Tick before = 0;
    for (const MicroBatchWork& batch : rank.micro_batches) {
      before += batch.data_load + batch.forward + batch.backward;
    }
    result.push_back({.before_s = to_seconds(before).value(),
                      .optimizer_s = to_seconds(rank.optimizer).value(),
                      .other_s = to_seconds(rank.other).value()});
  }
  return result;
}

std::optional<BlockingSync> blocking_sync(const Scenario& scenario, const Network& network) {
  BlockingSync sync;
  if (scenario.ranks.size() < 2) {
    return sync;
  }
  if (scenario.training.gradient_sync == GradientSync::kDdp) {
    return std::nullopt;
  }
  const SyncPlan plan = sync_plan(scenario);
  const Communicator group(network, cluster_ranks(scenario));
  const SyncCalls calls = sync_calls(plan, group);
  const auto add = [&](const std::vector<SyncCall>& list, double& total) {
    for (const SyncCall& call : list) {
      const auto arrays = group.arrays(call.kind, call.algorithm, call.bytes);
      const auto uniform = arrays ? arrays->uniform() : std::nullopt;
      if (!uniform) {
        return false;
      }
      total += to_seconds(*uniform + plan.collective_overhead).value();
    }
    return true;
  };
  if (!add(calls.reductions, sync.reduce_s) || !add(calls.gathers, sync.gather_s)) {
    return std::nullopt;
  }
  return sync;
}

}  // namespace vitsim
