#include <algorithm>
#include <optional>

#include <benchmark/benchmark.h>

#include "sim/collective/communicator.h"
#include "sim/engine/flow_engine.h"
#include "sim/step/step.h"
#include "tests/support/random_cluster.h"

// Each benchmark first checks what it computes, then times it; a wrong answer is an error, not a
// number. Targets: docs in tests/bench/README.md.

namespace vitsim {
namespace {

/// `gpus` GPUs on each of `nodes` machines on one switch; every machine's NIC has its own speed.
Network unequal_cluster(std::int64_t nodes, std::int64_t gpus) {
  NetworkData data = testing::star(nodes, BytesPerSecond(12.5e9), microseconds(2.5));
  for (std::int64_t i = 0; i < nodes; ++i) {
    NodeData& node = data.nodes[static_cast<std::size_t>(i)];
    node.gpus = gpus;
    node.nic->bandwidth = BytesPerSecond(12.5e9 - 1e6 * static_cast<double>(i * 7919 % 1009));
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

/// Waits a fixed time, over and over, as many times as it is told.
class Clock final : public EventHandler {
 public:
  Clock(FlowEngine& engine, std::uint32_t timers, std::int64_t ticks)
      : engine_(engine), handler_(engine.add_handler(*this)), left_(ticks) {
    for (std::uint32_t i = 0; i < timers; ++i) {
      engine.at(1 + i * 977, handler_, i);
    }
  }

  void on_event(std::uint32_t tag) override {
    if (--left_ >= 0) {
      engine_.at(engine_.now() + 100'000'000 + tag * 7919, handler_, tag);
    }
  }

 private:
  FlowEngine& engine_;
  HandlerId handler_;
  std::int64_t left_;
};

// One pop of the queue is an event; a thousand are pending.
void events_per_second(benchmark::State& state) {
  const LinkTable no_links;
  for (auto _ : state) {
    FlowEngine engine(no_links);
    const Clock clock(engine, 1000, 999'000);
    engine.run();
    if (engine.events() != 1'000'000) {
      state.SkipWithError("wrong number of events");
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 1'000'000);
}

BENCHMARK(events_per_second)->Unit(benchmark::kMillisecond);

// 512 ranks, 2 x 511 steps: 523,264 messages, two events each.
void message_level_ring(benchmark::State& state) {
  constexpr std::int64_t kRanks = 512;
  constexpr std::int64_t kBytes = 346'270'624;
  const bool equal = state.range(0) == 0;
  const Network network =
      equal ? Network(testing::star(kRanks, BytesPerSecond(12.5e9), microseconds(2.5)))
            : unequal_cluster(kRanks, 1);
  const Communicator group(network, testing::all_ranks(kRanks));
  const std::vector<Tick> starts = equal ? std::vector<Tick>(kRanks) : unequal_starts(kRanks);
  const std::vector<Tick> expected =
      group.run(CollectiveKind::kAllReduce, Algorithm::kRing, kBytes, starts);
  for (auto _ : state) {
    if (group.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, kBytes, starts) !=
        expected) {
      state.SkipWithError("events differ from arrays");
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * 2 * 523'264);
}

BENCHMARK(message_level_ring)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// One overlapped DDP step of 14 buckets on 1,024 unequal ranks.
struct OverlappedStep {
  static constexpr std::int64_t kRanks = 1024;

  OverlappedStep() : network(unequal_cluster(kRanks, 1)), starts(unequal_starts(kRanks)) {
    SyncPlan plan{.mode = GradientSync::kDdp};
    for (int k = 1; k <= 14; ++k) {
      plan.buckets.push_back({.bytes = 24'740'000, .ready_share = k / 14.0});
    }
    plan.overlap_slowdown.assign(kRanks, 1.1);
    simulator.emplace(network, testing::all_ranks(kRanks), plan);
    for (std::int64_t i = 0; i < kRanks; ++i) {
      batches.push_back(
          {.forward = (30 + i % 7) * 1'000'000'000, .backward = (60 + i % 5) * 1'000'000'000});
    }
    for (const MicroBatchWork& batch : batches) {
      work.push_back({.micro_batches = std::span(&batch, 1), .optimizer = 3'000'000'000});
    }
  }

  Network network;
  std::vector<Tick> starts;
  std::optional<StepSimulator> simulator;
  std::vector<MicroBatchWork> batches;
  std::vector<RankWork> work;
};

void overlapped_step_by_arrays(benchmark::State& state) {
  OverlappedStep step;
  if (!step.simulator->by_arrays()) {
    state.SkipWithError("arrays should be exact here");
  }
  if (state.range(0) == 1) {
    const std::vector<Tick> by_events = step.simulator->run_events(step.work, step.starts).end;
    if (step.simulator->run(step.work, step.starts).end != by_events) {
      state.SkipWithError("arrays differ from events");
    }
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(step.simulator->run(step.work, step.starts).end.data());
  }
}

BENCHMARK(overlapped_step_by_arrays)->Arg(1)->Unit(benchmark::kMillisecond);

void overlapped_step_by_events(benchmark::State& state) {
  OverlappedStep step;
  const std::vector<Tick> expected = step.simulator->run(step.work, step.starts).end;
  for (auto _ : state) {
    if (step.simulator->run_events(step.work, step.starts).end != expected) {
      state.SkipWithError("events differ from arrays");
    }
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) *
                          static_cast<std::int64_t>(step.simulator->events()));
}

BENCHMARK(overlapped_step_by_events)->Unit(benchmark::kMillisecond)->Iterations(1);

// 12,500 machines of 8 GPUs, unequal starts: network, group and all.
void hundred_thousand_gpus(benchmark::State& state) {
  constexpr std::int64_t kNodes = 12'500;
  constexpr std::int64_t kRanks = 8 * kNodes;
  constexpr std::int64_t kBytes = 346'270'624;
  const auto word =
      state.range(0) == 0 ? AllReduceAlgorithm::kRing : AllReduceAlgorithm::kHierarchical;
  const std::vector<Tick> starts = unequal_starts(kRanks);
  const Tick last_start = *std::max_element(starts.begin(), starts.end());
  for (auto _ : state) {
    const Network network = unequal_cluster(kNodes, 8);
    const std::vector<Tick> ends =
        all_reduce(network, testing::all_ranks(kRanks), kBytes, word, starts);
    // Not before the wire allows: every rank waits for 2 (N-1) messages over the slowest hop.
    const std::int64_t ring = word == AllReduceAlgorithm::kRing ? kRanks : kNodes;
    const std::int64_t message = word == AllReduceAlgorithm::kRing
                                     ? (kBytes + kRanks - 1) / kRanks
                                     : (kBytes / 8 + kNodes - 1) / kNodes * 8;
    const Tick slowest =
        to_ticks(microseconds(5)) + transfer_ticks(message, BytesPerSecond(12.5e9 - 1e6 * 1008));
    const Tick last = *std::max_element(ends.begin(), ends.end());
    // Hierarchical: 7 steps inside each node before and after, of an eighth at 100 GB/s.
    const Tick inside = word == AllReduceAlgorithm::kRing
                            ? 0
                            : 14 * (to_ticks(microseconds(2)) +
                                    transfer_ticks((kBytes + 7) / 8, BytesPerSecond(1e11)));
    const Tick floor = 2 * (ring - 1) * slowest + inside;
    if (last < floor || last > last_start + floor + floor / 50) {
      state.SkipWithError("the end is not what the slowest hop makes it");
    }
  }
}

BENCHMARK(hundred_thousand_gpus)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vitsim
