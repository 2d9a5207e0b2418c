#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "sim/collective/communicator.h"
#include "sim/collective/tree_estimate.h"
#include "tests/support/random_cluster.h"

// Collectives, by events where flows share links and without events elsewhere. Each benchmark first
// checks what it computes, then times it. Targets: tests/bench/README.md.

namespace vitsim {
namespace {

constexpr std::int64_t kBytes = 346'270'624;

/// Nodes of `gpus` GPUs on one switch; `kinds` says how many speeds their NICs have, by turns.
Network cluster(std::int64_t nodes, std::int64_t gpus, std::int64_t kinds = 1) {
  NetworkData data = testing::star(nodes, BytesPerSecond(12.5e9), microseconds(2.5));
  for (std::int64_t i = 0; i < nodes; ++i) {
    NodeData& node = data.nodes[static_cast<std::size_t>(i)];
    node.gpus = gpus;
    node.nic->bandwidth = BytesPerSecond(12.5e9 * static_cast<double>(1 + i % kinds));
    node.intra_node = {.latency = microseconds(2), .bandwidth = BytesPerSecond(1e11)};
  }
  return Network(data);
}

std::vector<Tick> unequal_starts(std::int64_t n) {
  std::vector<Tick> starts(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    starts[static_cast<std::size_t>(i)] = i * 104'729 % 1'000'003 * 1000;  // up to 1 ms
  }
  return starts;
}

Tick last(const std::vector<Tick>& ends) {
  return *std::max_element(ends.begin(), ends.end());
}

// One AllReduce over two trees of single GPUs, message by message: 4 x 256 messages for each rank,
// and all flows in one component. The ends are those of an engine that fills the whole network anew
// at every change.
void tree_by_events(benchmark::State& state) {
  const std::int64_t ranks = state.range(0);
  const Network network = cluster(ranks, 1);
  const Communicator group(network, testing::all_ranks(ranks));
  const std::vector<Tick> together(group.size());
  const Tick expected = ranks == 64    ? 57'486'745'997
                        : ranks == 256 ? 57'890'783'570
                                       : 58'328'932'849;
  for (auto _ : state) {
    if (last(group.run_events(CollectiveKind::kAllReduce, Algorithm::kTree, kBytes, together)) !=
        expected) {
      state.SkipWithError("not the end that filling the whole network gives");
    }
  }
}

BENCHMARK(tree_by_events)
    ->Arg(64)
    ->Arg(256)
    ->Arg(1024)
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

// Paths between 100,000 ranks, 12,500 nodes of 8.
void communicator(benchmark::State& state) {
  constexpr std::int64_t kNodes = 12'500;
  const Network network = cluster(kNodes, 8);
  const std::vector<std::int64_t> ranks = testing::all_ranks(8 * kNodes);
  for (auto _ : state) {
    const Communicator group(network, ranks);
    if (group.nodes().size() != kNodes || group.ring_hops().kinds().size() != 2) {
      state.SkipWithError("a ring over nodes of 8 has two kinds of hops");
    }
  }
}

BENCHMARK(communicator)->Unit(benchmark::kMillisecond);

// Rings of 100,000 ranks with unequal starts: AllReduce over one and two kinds of nodes, and one
// lap.
void ring_of_100k(benchmark::State& state) {
  constexpr std::int64_t kNodes = 12'500;
  const std::int64_t kinds = state.range(0);
  const auto kind = static_cast<CollectiveKind>(state.range(1));
  const auto build = [&](std::int64_t nodes) {
    return std::make_unique<Network>(cluster(nodes, 8, kinds));
  };
  // The same shape, small, against the event level.
  const auto small = build(32);
  const Communicator few(*small, testing::all_ranks(256));
  const std::vector<Tick> few_starts = unequal_starts(256);
  if (few.run(kind, Algorithm::kRing, kBytes, few_starts) !=
      few.run_events(kind, Algorithm::kRing, kBytes, few_starts)) {
    state.SkipWithError("arrays differ from events");
  }
  const auto network = build(kNodes);
  const Communicator group(*network, testing::all_ranks(8 * kNodes));
  auto arrays = group.arrays(kind, Algorithm::kRing, kBytes);
  const std::vector<Tick> starts = unequal_starts(8 * kNodes);
  std::vector<Tick> ends(starts.size());
  for (auto _ : state) {
    arrays->run(starts, ends);
    benchmark::DoNotOptimize(ends.data());
  }
}

BENCHMARK(ring_of_100k)->Args({1, 0})->Args({2, 0})->Args({1, 1})->Unit(benchmark::kMicrosecond);

// What trees over many ranks take, without simulating them: nodes of 8.
void tree_estimate(benchmark::State& state) {
  const std::int64_t ranks = state.range(0);
  constexpr std::int64_t kBucket = 25 * 1024 * 1024;
  const Network small = cluster(32, 8);
  const Communicator few(small, testing::all_ranks(256));
  const std::vector<Tick> together(few.size());
  const auto by_events = static_cast<double>(
      last(few.run_events(CollectiveKind::kAllReduce, Algorithm::kTree, kBucket, together)));
  const auto estimate = estimated_tree_time(small, few.ranks(), few.nodes(), kBucket);
  if (!estimate || std::abs(static_cast<double>(*estimate) / by_events - 1) > 0.05) {
    state.SkipWithError("the estimate is more than 5 % off");
  }
  const Network network = cluster(ranks / 8, 8);
  const Communicator group(network, testing::all_ranks(ranks));
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        estimated_tree_time(network, group.ranks(), group.nodes(), state.range(1)));
  }
}

BENCHMARK(tree_estimate)
    ->Args({1024, 25 * 1024 * 1024})
    ->Args({1024, kBytes})
    ->Args({100'000, kBytes})
    ->Unit(benchmark::kMillisecond);

// Halving-doubling stage by stage, 4,096 ranks in nodes of 8 that start together.
void stages(benchmark::State& state) {
  const Network small = cluster(32, 8);
  const Communicator few(small, testing::all_ranks(256));
  const std::vector<Tick> few_together(few.size());
  if (few.run_stages(
          CollectiveKind::kAllReduce, Algorithm::kHalvingDoubling, kBytes, few_together) !=
      few.run_events(
          CollectiveKind::kAllReduce, Algorithm::kHalvingDoubling, kBytes, few_together)) {
    state.SkipWithError("stages differ from events");
  }
  const Network network = cluster(512, 8);
  const Communicator group(network, testing::all_ranks(4096));
  const std::vector<Tick> together(group.size());
  for (auto _ : state) {
    if (!group.run_stages(
            CollectiveKind::kAllReduce, Algorithm::kHalvingDoubling, kBytes, together)) {
      state.SkipWithError("no answer");
    }
  }
}

BENCHMARK(stages)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vitsim
