#include <algorithm>
#include <numeric>

#include <gtest/gtest.h>

#include "sim/collective/communicator.h"
#include "sim/engine/flow_engine.h"
#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

struct Flow {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t bytes = 0;
  Tick start = 0;
};

std::vector<Flow> random_flows(RandomCluster& random, const Network& network) {
  std::vector<Flow> flows;
  const std::int64_t n = network.world_size();
  for (std::int64_t k = random.between(1, 30); k > 0; --k) {
    const std::int64_t from = random.between(0, n - 1);
    flows.push_back({.from = from,
                     .to = (from + random.between(1, n - 1)) % n,
                     .bytes = random.between(0, 20'000'000),
                     .start = random.between(0, 20'000'000'000)});
  }
  return flows;
}

/// Sends each flow on a stream of its own when its time comes, in the order given.
class Traffic final : public EventHandler {
 public:
  Traffic(const Network& network,
          const std::vector<Flow>& flows,
          const std::vector<std::size_t>& order)
      : engine_(network.links()), handler_(engine_.add_handler(*this)), flows_(flows) {
    ends.resize(flows.size());
    streams_.resize(flows.size());
    for (const std::size_t i : order) {
      std::vector<LinkId> path;
      network.append_route(flows[i].from, flows[i].to, path);
      streams_[i] = engine_.add_stream(path);
      engine_.at(flows[i].start, handler_, static_cast<std::uint32_t>(2 * i));
    }
    engine_.run();
    delivered = engine_.bytes_delivered();
  }

  void on_event(std::uint32_t tag) override {
    if (tag % 2 == 0) {
      engine_.send(streams_[tag / 2], flows_[tag / 2].bytes, handler_, tag + 1);
    } else {
      ends[tag / 2] = engine_.now();
    }
  }

  std::vector<Tick> ends;
  std::uint64_t delivered = 0;

 private:
  FlowEngine engine_;
  HandlerId handler_;
  const std::vector<Flow>& flows_;
  std::vector<StreamId> streams_;
};

std::vector<std::size_t> identity(std::size_t n) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

// What is sent arrives; nothing arrives before its path alone would allow; no link carries more
// than it can between the first start and the last end.
TEST(EngineProperty, BytesAreConservedAndLinksNotOverfilled) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 8)));
    const std::vector<Flow> flows = random_flows(random, network);
    const Traffic traffic(network, flows, identity(flows.size()));
    std::uint64_t sent = 0;
    std::vector<double> carried(network.links().size());
    const Tick last = *std::max_element(traffic.ends.begin(), traffic.ends.end());
    for (std::size_t i = 0; i < flows.size(); ++i) {
      sent += static_cast<std::uint64_t>(flows[i].bytes);
      std::vector<LinkId> path;
      network.append_route(flows[i].from, flows[i].to, path);
      const LinkFigures alone = network.links().figures(path, flows[i].bytes);
      EXPECT_GE(traffic.ends[i],
                flows[i].start + to_ticks(alone.latency) +
                    transfer_ticks(flows[i].bytes, alone.bandwidth));
      for (const LinkId link : path) {
        carried[link] += static_cast<double>(flows[i].bytes);
      }
    }
    EXPECT_EQ(traffic.delivered, sent);
    for (LinkId link = 0; link < carried.size(); ++link) {
      EXPECT_LE(carried[link],
                network.links()[link].bandwidth.value() * to_seconds(last).value() + 1);
    }
  }
}

// Neither repetition nor the order in which flows are made changes a tick.
TEST(EngineProperty, HistoryDoesNotMatter) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const Network network(random.cluster(random.between(2, 8)));
    const std::vector<Flow> flows = random_flows(random, network);
    std::vector<std::size_t> order = identity(flows.size());
    const std::vector<Tick> ends = Traffic(network, flows, order).ends;
    EXPECT_EQ(ends, Traffic(network, flows, order).ends);
    std::shuffle(order.begin(), order.end(), random.engine());
    EXPECT_EQ(ends, Traffic(network, flows, order).ends);
  }
}

// A ring alone on its links: raising one NIC's bandwidth delays nobody.
TEST(EngineProperty, FasterLinksAreNeverSlower) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    NetworkData data = testing::star(random.between(2, 12), BytesPerSecond(1e9), Seconds(0));
    for (NodeData& node : data.nodes) {
      node.nic = random.link();
      node.nic->curve = nullptr;
    }
    const Network before(data);
    NodeData& faster =
        data.nodes[static_cast<std::size_t>(random.between(0, before.world_size() - 1))];
    faster.nic->bandwidth = faster.nic->bandwidth * 1.7;
    const Network after(data);
    const std::vector<std::int64_t> ranks = testing::all_ranks(before.world_size());
    const std::vector<Tick> starts = random.starts(ranks.size());
    const std::int64_t bytes = random.between(1, 100'000'000);
    const auto slow = all_reduce(before, ranks, bytes, AllReduceAlgorithm::kRing, starts);
    const auto fast = all_reduce(after, ranks, bytes, AllReduceAlgorithm::kRing, starts);
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      EXPECT_LE(fast[i], slow[i]) << "rank " << i;
    }
  }
}

// On equal machines it does not matter which of them is late, whatever the algorithm's last end.
TEST(EngineProperty, EqualRanksAreInterchangeable) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    RandomCluster random(seed);
    const std::int64_t n = random.between(2, 16);
    const Network network(testing::star(n, BytesPerSecond(1.25e9), microseconds(20)));
    const std::vector<std::int64_t> ranks = testing::all_ranks(n);
    const Communicator group(network, ranks);
    std::vector<Tick> starts = random.starts(ranks.size());
    const std::int64_t bytes = random.between(1, 10'000'000);
    const auto ends = group.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, bytes, starts);
    std::shuffle(starts.begin(), starts.end(), random.engine());
    const auto shuffled =
        group.run_events(CollectiveKind::kAllReduce, Algorithm::kRing, bytes, starts);
    EXPECT_EQ(ends, shuffled);  // all end together
    // Renumbering the ranks of a ring turns it, and the result with it.
    std::vector<std::int64_t> turned = ranks;
    std::rotate(turned.begin(), turned.begin() + 1, turned.end());
    std::vector<Tick> turned_starts = starts;
    std::rotate(turned_starts.begin(), turned_starts.begin() + 1, turned_starts.end());
    const Communicator other(network, turned);
    for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree}) {
      const auto a = group.run_events(CollectiveKind::kAllReduce, algorithm, bytes, starts);
      const auto b = other.run_events(CollectiveKind::kAllReduce, algorithm, bytes, starts);
      if (algorithm == Algorithm::kRing) {
        EXPECT_TRUE(std::equal(a.begin() + 1, a.end(), b.begin()));
      } else {
        // A tree over other machines in the same places: with equal starts the same times.
        const std::vector<Tick> together(ranks.size());
        EXPECT_EQ(group.run_events(CollectiveKind::kAllReduce, algorithm, bytes, together),
                  other.run_events(CollectiveKind::kAllReduce, algorithm, bytes, together));
      }
    }
  }
}

}  // namespace
}  // namespace vitsim
