#include "sim/job/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;

const LinkSpec kGiven{.bandwidth = BytesPerSecond(1e9), .latency = microseconds(5)};

LinkProfile link(const std::string& name, double run_sigma, Seconds overhead) {
  return {.name = name,
          .latency = microseconds(10),
          .bandwidth = BytesPerSecond(1e9),
          .collective_overhead = overhead,
          .spread = {.run_sigma = run_sigma}};
}

class Links : public ::testing::Test {
 protected:
  Links() {
    GpuProfile gpu{.name = "a"};
    gpu.steps = {{.model = *vit_variant("vit-ti-16"),
                  .points = {{.micro_batch = 4,
                              .forward = milliseconds(10),
                              .backward = milliseconds(20),
                              .count = 1}}}};
    profiles_.gpus["a"] = gpu;
    profiles_.links["lan"] = link("lan", 0.02, milliseconds(1));
    profiles_.links["board"] = link("board", 0.05, milliseconds(3));
    profiles_.links["cable"] = link("cable", 0.01, milliseconds(2));
    experiment_.training.model = *vit_variant("vit-ti-16");
    experiment_.training.dataset = {.name = "any", .samples = 1000};
    experiment_.training.micro_batch = {4};
  }

  void add_node(const std::string& name, std::size_t gpus) {
    experiment_.cluster.nodes.push_back(
        {.name = name, .gpus = std::vector<GpuSpec>(gpus, {.model = "a"})});
  }

  [[nodiscard]] ResolvedJob job() const { return resolve(experiment_, profiles_).jobs.front(); }

  // Kinds of what the report says of links.
  static std::vector<std::string> kinds(const ResolvedJob& resolved) {
    std::vector<std::string> found;
    for (const Basis& basis : resolved.basis) {
      if (basis.part.starts_with("network")) {
        found.push_back(basis.kind == "measured" ? basis.part : basis.kind);
      }
    }
    return found;
  }

  static std::vector<std::string> noise(const ResolvedJob& resolved) {
    std::vector<std::string> found;
    for (const LinkNoise& link_noise : resolved.link_noise) {
      found.push_back(link_noise.name);
    }
    return found;
  }

  static bool warns(const ResolvedJob& resolved) {
    return std::ranges::any_of(resolved.warnings, [](const std::string& warning) {
      return warning.find("PCIe 3.0 x16 is assumed") != std::string::npos;
    });
  }

  ProfileSet profiles_;
  Experiment experiment_;
};

// Two machines of two GPUs: the ring crosses the network and the inside of both.
TEST_F(Links, WhatIsAssumedInsideSeveralNodesIsNamed) {
  add_node("one", 2);
  add_node("two", 2);
  experiment_.cluster.network = LinkSpec{.profile = "lan"};
  const ResolvedJob assumed = job();
  EXPECT_THAT(kinds(assumed), ElementsAre("network (lan)", "assumed"));
  EXPECT_TRUE(warns(assumed));
  EXPECT_THAT(assumed.basis.back().detail,
              ::testing::HasSubstr("inside 2 nodes, 12 GB/s and 5 us"));

  experiment_.cluster.intra_node = kGiven;
  EXPECT_THAT(kinds(job()), ElementsAre("network (lan)", "given"));
  EXPECT_FALSE(warns(job()));
}

TEST_F(Links, AProfileInsideSeveralNodesCounts) {
  add_node("one", 2);
  add_node("two", 2);
  experiment_.cluster.network = LinkSpec{.profile = "lan"};
  experiment_.cluster.nodes[0].intra_node = LinkSpec{.profile = "board"};
  experiment_.cluster.nodes[1].intra_node = kGiven;
  const ResolvedJob resolved = job();
  EXPECT_THAT(noise(resolved), ElementsAre("lan", "board", "as specified"));
  EXPECT_EQ(resolved.collective_overhead, milliseconds(3));  // the longest
  EXPECT_THAT(kinds(resolved), ElementsAre("network (lan)", "network (board)", "given"));
}

// The GPUs were measured together with the path between them.
TEST_F(Links, AMeasuredPathOfTheGpusCountsInSeveralNodes) {
  add_node("one", 2);
  add_node("two", 2);
  experiment_.cluster.network = kGiven;
  profiles_.gpus["a"].intra_node = "board";
  const ResolvedJob resolved = job();
  EXPECT_THAT(noise(resolved), ElementsAre("board", "as specified"));
  EXPECT_THAT(kinds(resolved), ElementsAre("network (board)", "given"));
  EXPECT_FALSE(warns(resolved));
}

TEST_F(Links, OneNodeUsesNoNetwork) {
  add_node("one", 2);
  experiment_.cluster.network = LinkSpec{.profile = "lan"};
  EXPECT_THAT(noise(job()), ElementsAre("pcie3-x16"));
  EXPECT_THAT(kinds(job()), ElementsAre("assumed"));
  experiment_.cluster.intra_node = LinkSpec{.profile = "board"};
  EXPECT_THAT(noise(job()), ElementsAre("board"));
}

// Single GPUs never use the inside of their nodes.
TEST_F(Links, SingleGpusUseTheNetworkAlone) {
  add_node("one", 1);
  add_node("two", 1);
  experiment_.cluster.network = LinkSpec{.profile = "lan"};
  experiment_.cluster.intra_node = LinkSpec{.profile = "board"};
  EXPECT_THAT(noise(job()), ElementsAre("lan"));
  EXPECT_THAT(kinds(job()), ElementsAre("network (lan)"));
}

// A cable joins both nodes: neither hangs on the switch, whatever cluster.network is.
TEST_F(Links, ANetworkThatNoRouteCrossesCostsNothing) {
  add_node("one", 1);
  add_node("two", 1);
  experiment_.cluster.network = LinkSpec{.profile = "lan"};
  experiment_.cluster.links = {{.a = "one", .b = "two", .link = LinkSpec{.profile = "cable"}}};
  const ResolvedJob resolved = job();
  EXPECT_THAT(noise(resolved), ElementsAre("cable"));
  EXPECT_EQ(resolved.collective_overhead, milliseconds(2));
}

// One of two jobs stays on one side of the trunk.
TEST_F(Links, EachJobCrossesItsOwn) {
  for (const char* name : {"a", "b", "c", "d"}) {
    add_node(name, 1);
    experiment_.cluster.nodes.back().switch_name = name < std::string("c") ? "left" : "right";
  }
  experiment_.cluster.network = kGiven;
  experiment_.cluster.switches = {"left", "right"};
  experiment_.cluster.links = {{.a = "left", .b = "right", .link = LinkSpec{.profile = "cable"}}};
  experiment_.jobs = {{.name = "one side", .training = experiment_.training, .ranks = {0, 1}},
                      {.name = "both sides", .training = experiment_.training, .ranks = {2, 3}}};
  experiment_.cluster.nodes[2].switch_name = "left";
  const ResolvedExperiment resolved = resolve(experiment_, profiles_);
  EXPECT_THAT(noise(resolved.jobs[0]), ElementsAre("as specified"));
  EXPECT_THAT(noise(resolved.jobs[1]), ElementsAre("cable", "as specified"));
}

}  // namespace
}  // namespace vitsim
