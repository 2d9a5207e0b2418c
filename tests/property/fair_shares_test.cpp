#include "sim/engine/fair_shares.h"

#include <algorithm>
#include <map>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/support/random_cluster.h"

namespace vitsim {
namespace {

using testing::RandomCluster;

/// Progressive filling of the whole network from nothing, slow and plain: the definition that
/// FairShares must meet to the last bit.
class WholeFilling {
 public:
  struct Flow {
    std::vector<FairShares::Link> path;
    double cap = FairShares::kUncapped;
  };

  static std::map<FairShares::Flow, double> rates(const std::vector<double>& capacities,
                                                  const std::map<FairShares::Flow, Flow>& flows) {
    std::vector<double> residual = capacities;
    std::vector<int> open(capacities.size());
    for (const auto& [id, flow] : flows) {
      for (const FairShares::Link link : flow.path) {
        ++open[link];
      }
    }
    // Rate, links before caps, number.
    std::vector<std::tuple<double, bool, std::uint32_t>> bounds;
    for (FairShares::Link link = 0; link < capacities.size(); ++link) {
      if (open[link] != 0) {
        bounds.emplace_back(capacities[link] / open[link], false, link);
      }
    }
    for (const auto& [id, flow] : flows) {
      double narrowest = FairShares::kUncapped;
      for (const FairShares::Link link : flow.path) {
        narrowest = std::min(narrowest, capacities[link]);
      }
      if (flow.cap < narrowest) {
        bounds.emplace_back(flow.cap, true, id);
      }
    }
    std::map<FairShares::Flow, double> found;
    const auto fix = [&](FairShares::Flow id, double rate) {
      found[id] = rate;
      for (const FairShares::Link link : flows.at(id).path) {
        residual[link] -= rate;
        --open[link];
      }
    };
    while (found.size() != flows.size()) {
      const auto least = std::min_element(bounds.begin(), bounds.end());
      const auto [rate, is_cap, index] = *least;
      if (is_cap) {
        bounds.erase(least);
        if (found.count(index) == 0) {
          fix(index, rate);
        }
      } else if (open[index] != 0 && residual[index] / open[index] > rate) {
        std::get<0>(*least) = residual[index] / open[index];
      } else {
        bounds.erase(least);
        for (const auto& [id, flow] : flows) {
          const bool is_here =
              std::find(flow.path.begin(), flow.path.end(), index) != flow.path.end();
          if (is_here && found.count(id) == 0) {
            fix(id, rate);
          }
        }
      }
    }
    return found;
  }
};

/// Flows that come and go at random; rates are compared after each batch of changes.
class Changes {
 public:
  explicit Changes(std::uint64_t seed) : random_(seed) {
    const std::int64_t links = random_.between(1, 24);
    const bool few_kinds = random_.chance(0.5);
    few_caps_ = random_.chance(0.5);
    for (std::int64_t i = 0; i < links; ++i) {
      capacities_.push_back(few_kinds ? static_cast<double>(random_.between(1, 3)) * 1e9
                                      : any_rate());
      shares_.add_link(capacities_.back());
    }
    const std::int64_t longest = std::min<std::int64_t>(random_.between(1, 4), links);
    for (std::int64_t i = random_.between(1, 60); i > 0; --i) {
      std::vector<FairShares::Link> path(static_cast<std::size_t>(links));
      for (std::size_t link = 0; link < path.size(); ++link) {
        path[link] = static_cast<FairShares::Link>(link);
      }
      std::shuffle(path.begin(), path.end(), random_.engine());
      path.resize(static_cast<std::size_t>(random_.between(1, longest)));
      shares_.add_flow(path);
      paths_.push_back(path);
    }
  }

  void one_batch() {
    for (std::int64_t k = random_.between(1, random_.chance(0.1) ? 60 : 4); k > 0; --k) {
      one_change();
    }
    const std::map<FairShares::Flow, double> before = std::move(rates_);
    std::vector<bool> returned(paths_.size());
    for (const FairShares::Flow flow : shares_.resolve()) {
      EXPECT_FALSE(returned[flow]) << "twice in one answer";
      returned[flow] = true;
    }
    EXPECT_FALSE(shares_.is_stale());
    rates_ = WholeFilling::rates(capacities_, flows_);
    for (const auto& [flow, rate] : rates_) {
      ASSERT_EQ(shares_.rate(flow), rate) << "flow " << flow;  // to the last bit
      const auto found = before.find(flow);
      if (found != before.end() && found->second != rate) {
        EXPECT_TRUE(returned[flow]) << "flow " << flow << " changed and was not returned";
      }
    }
  }

 private:
  double any_rate() { return static_cast<double>(random_.between(1, 1 << 30)) * 1.37; }

  double any_cap() {
    return random_.chance(0.5) ? FairShares::kUncapped
           : few_caps_         ? static_cast<double>(random_.between(1, 4)) * 2.5e8
                               : any_rate();
  }

  void one_change() {
    if (random_.chance(0.05)) {
      const auto link = static_cast<FairShares::Link>(
          random_.between(0, static_cast<std::int64_t>(capacities_.size()) - 1));
      capacities_[link] = any_rate();
      shares_.set_capacity(link, capacities_[link]);
      // What a cap means follows from the capacities of the path.
      for (auto& [id, flow] : flows_) {
        if (std::find(flow.path.begin(), flow.path.end(), link) != flow.path.end()) {
          flow.cap = any_cap();
          shares_.set_cap(id, flow.cap);
        }
      }
      return;
    }
    const auto flow = static_cast<FairShares::Flow>(
        random_.between(0, static_cast<std::int64_t>(paths_.size()) - 1));
    if (flows_.count(flow) != 0) {
      shares_.leave(flow);
      flows_.erase(flow);
      rates_.erase(flow);
      return;
    }
    flows_[flow] = {.path = paths_[flow], .cap = any_cap()};
    if (shares_.join(flow, flows_[flow].cap)) {
      // Alone: the rate holds until somebody joins.
      double least = flows_[flow].cap;
      for (const FairShares::Link link : paths_[flow]) {
        least = std::min(least, capacities_[link]);
      }
      EXPECT_EQ(shares_.rate(flow), least);
      rates_[flow] = least;
    }
  }

  RandomCluster random_;
  bool few_caps_ = false;
  FairShares shares_;
  std::vector<double> capacities_;
  std::vector<std::vector<FairShares::Link>> paths_;
  std::map<FairShares::Flow, WholeFilling::Flow> flows_;
  std::map<FairShares::Flow, double> rates_;  // of flows that had one before the batch
};

TEST(FairSharesProperty, EqualFillingFromNothing) {
  for (std::uint64_t seed = 0; seed < 1500; ++seed) {
    SCOPED_TRACE(seed);
    Changes changes(seed);
    for (int batch = 0; batch < 40; ++batch) {
      changes.one_batch();
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
  }
}

}  // namespace
}  // namespace vitsim
