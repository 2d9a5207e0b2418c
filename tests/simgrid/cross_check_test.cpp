#include <algorithm>
#include <deque>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/step/step.h"
#include "tests/simgrid/simgrid_world.h"
#include "tests/support/random_cluster.h"

// What SimGrid computes for the same wires. Its CM02 weighs competing flows by latency, vitsim does
// not, so where flows compete all paths have the same latency: trunks have none.

namespace vitsim {
namespace {

using testing::RandomCluster;
using testing::WorldFlow;
using testing::WorldRing;

constexpr int kCases = 40;

double tolerance(double seconds) {
  return std::max(2e-9, 1e-9 * seconds);
}

/// One GPU per machine on one or two switches, NICs unequal in bandwidth.
Network random_network(RandomCluster& random, std::int64_t ranks, bool two_switches) {
  NetworkData data = testing::star(ranks, BytesPerSecond(1e9), microseconds(50));
  for (NodeData& node : data.nodes) {
    node.nic->bandwidth = BytesPerSecond(static_cast<double>(random.between(1, 40)) * 1.25e8);
  }
  if (two_switches) {
    data.switches = {"A", "B"};
    data.trunks = {
        {"A",
         "B",
         {.bandwidth = BytesPerSecond(static_cast<double>(random.between(1, 20)) * 1.25e8)}}};
    for (NodeData& node : data.nodes) {
      node.switch_name = random.chance(0.5) ? "A" : "B";
    }
  }
  return Network(data);
}

/// Everything of a case in vitsim, event by event.
class Engine final : public EventHandler, public CollectiveListener {
 public:
  Engine(const Network& network,
         const std::vector<WorldRing>& rings,
         const std::vector<WorldFlow>& flows)
      : engine_(network.links()), handler_(engine_.add_handler(*this)), flows_(flows) {
    ends.flows_s.resize(flows.size());
    for (std::uint32_t i = 0; i < flows.size(); ++i) {
      std::vector<LinkId> path;
      network.append_route(flows[i].from, flows[i].to, path);
      streams_.push_back(engine_.add_stream(path));
      engine_.at(to_ticks(Seconds(flows[i].start_s)), handler_, 2 * i);
    }
    for (std::uint32_t i = 0; i < rings.size(); ++i) {
      ends.rings_s.emplace_back(rings[i].ranks.size());
      groups_.emplace_back(network, rings[i].ranks);
      auto& set = sets_.emplace_back(engine_, network, rings[i].ranks);
      rings_.push_back(groups_.back().events(
          set, CollectiveKind::kAllReduce, Algorithm::kRing, rings[i].bytes, *this, i));
      for (std::uint32_t position = 0; position < rings[i].ranks.size(); ++position) {
        starters_.emplace_back(*rings_.back(), position);
        engine_.at(to_ticks(Seconds(rings[i].compute_s[position][0])),
                   engine_.add_handler(starters_.back()),
                   0);
      }
    }
    engine_.run();
  }

  void on_event(std::uint32_t tag) override {
    if (tag % 2 == 0) {
      engine_.send(streams_[tag / 2], flows_[tag / 2].bytes, handler_, tag + 1);
    } else {
      ends.flows_s[tag / 2] = to_seconds(engine_.now()).value();
    }
  }

  void collective_done(std::uint32_t collective, std::uint32_t position) override {
    ends.rings_s[collective][position] = to_seconds(engine_.now()).value();
  }

  testing::WorldEnds ends;

 private:
  /// Starts one position of a ring when its time comes.
  class Starter final : public EventHandler {
   public:
    Starter(EventCollective& ring, std::uint32_t position) : ring_(ring), position_(position) {}

    void on_event(std::uint32_t /*tag*/) override { ring_.start(position_); }

   private:
    EventCollective& ring_;
    std::uint32_t position_;
  };

  FlowEngine engine_;
  HandlerId handler_;
  const std::vector<WorldFlow>& flows_;
  std::vector<StreamId> streams_;
  std::deque<Communicator> groups_;
  std::deque<StreamSet> sets_;
  std::vector<std::unique_ptr<EventCollective>> rings_;
  std::deque<Starter> starters_;
};

void expect_same(const testing::WorldEnds& ours, const testing::WorldEnds& simgrid) {
  for (std::size_t ring = 0; ring < ours.rings_s.size(); ++ring) {
    for (std::size_t i = 0; i < ours.rings_s[ring].size(); ++i) {
      const double expected = simgrid.rings_s[ring][i];
      EXPECT_GT(expected, 0);
      EXPECT_NEAR(ours.rings_s[ring][i], expected, tolerance(expected)) << "position " << i;
    }
  }
  for (std::size_t i = 0; i < ours.flows_s.size(); ++i) {
    EXPECT_NEAR(ours.flows_s[i], simgrid.flows_s[i], tolerance(simgrid.flows_s[i])) << "flow " << i;
  }
}

WorldRing random_ring(RandomCluster& random, std::vector<std::int64_t> ranks, int iterations) {
  WorldRing ring{.ranks = std::move(ranks), .bytes = random.between(1'000'000, 100'000'000)};
  for (std::size_t i = 0; i < ring.ranks.size(); ++i) {
    auto& compute = ring.compute_s.emplace_back();
    for (int k = 0; k < iterations; ++k) {
      compute.push_back(static_cast<double>(random.between(0, 1000)) * 1e-3);
    }
  }
  return ring;
}

TEST(SimGrid, RandomRings) {
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const std::int64_t n = random.between(2, 12);
    const Network network = random_network(random, n, false);
    const std::vector<WorldRing> rings = {random_ring(random, testing::all_ranks(n), 1)};
    expect_same(Engine(network, rings, {}).ends, testing::run_in_simgrid(network, rings, {}));
  }
}

TEST(SimGrid, Contention) {
  for (std::uint64_t seed = 0; seed < kCases; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed + 1000);
    const std::int64_t n = random.between(4, 12);
    const Network network = random_network(random, n, random.chance(0.7));
    std::vector<WorldFlow> flows;
    for (std::int64_t k = random.between(2, 20); k > 0; --k) {
      const std::int64_t from = random.between(0, n - 1);
      flows.push_back({.from = from,
                       .to = (from + random.between(1, n - 1)) % n,
                       .bytes = random.between(1'000'000, 500'000'000),
                       .start_s = static_cast<double>(random.between(0, 1000)) * 1e-3});
    }
    expect_same(Engine(network, {}, flows).ends, testing::run_in_simgrid(network, {}, flows));
  }
}

TEST(SimGrid, RingsThatShareATrunk) {
  for (std::uint64_t seed = 0; seed < kCases / 2; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed + 2000);
    const std::int64_t n = random.between(2, 5);
    const Network network = random_network(random, 2 * n, true);
    std::vector<std::int64_t> first;
    std::vector<std::int64_t> second;
    for (std::int64_t i = 0; i < n; ++i) {
      first.push_back(i);
      second.push_back(n + i);
    }
    const std::vector<WorldRing> rings = {random_ring(random, first, 1),
                                          random_ring(random, second, 1)};
    expect_same(Engine(network, rings, {}).ends, testing::run_in_simgrid(network, rings, {}));
  }
}

// Compute that differs by rank and iteration, then AllReduce, 20 times.
TEST(SimGrid, Epochs) {
  for (std::uint64_t seed = 0; seed < kCases / 2; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed + 3000);
    const std::int64_t n = random.between(2, 8);
    constexpr int kIterations = 20;
    const Network network = random_network(random, n, false);
    const WorldRing ring = random_ring(random, testing::all_ranks(n), kIterations);
    StepSimulator step(network,
                       ring.ranks,
                       {.mode = GradientSync::kDeepspeedZero0, .buckets = {{.bytes = ring.bytes}}});
    std::vector<MicroBatchWork> batches(ring.ranks.size());
    std::vector<RankWork> work(batches.size());
    std::vector<Tick> now(batches.size());
    for (int k = 0; k < kIterations; ++k) {
      for (std::size_t i = 0; i < batches.size(); ++i) {
        batches[i].forward = to_ticks(Seconds(ring.compute_s[i][static_cast<std::size_t>(k)]));
        work[i].micro_batches = std::span(&batches[i], 1);
      }
      now = step.run(work, now).end;
    }
    const testing::WorldEnds simgrid = testing::run_in_simgrid(network, {ring}, {});
    for (std::size_t i = 0; i < now.size(); ++i) {
      const double expected = simgrid.rings_s[0][i];
      EXPECT_NEAR(to_seconds(now[i]).value(), expected, tolerance(expected)) << "rank " << i;
    }
  }
}

}  // namespace
}  // namespace vitsim
