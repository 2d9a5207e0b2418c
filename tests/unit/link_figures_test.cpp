#include "sim/job/link_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/profile/library.h"
#include "models/error.h"
#include "sim/collective/communicator.h"

namespace vitsim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Experiment experiment_of(const std::string& cluster) {
  return experiment_from_text(R"({"cluster": )" + cluster + R"(,
    "training": {"model": "vit-b-16", "dataset": {"name": "cifar10"}, "micro_batch_per_gpu": 16}})",
                              "lab.json");
}

ResolvedExperiment resolved(const std::string& cluster) {
  const Experiment experiment = experiment_of(cluster);
  return resolve(experiment, load_profiles(experiment, ProfileLibrary()));
}

std::vector<std::string> noises(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const LinkNoise& noise : scenario.link_noise) {
    names.push_back(noise.name);
    EXPECT_GT(noise.spread.run_sigma.value_or(0), 0) << noise.name;
  }
  return names;
}

TEST(LinkFigures, ASheetGivesFiguresAndTraits) {
  const ResolvedExperiment lab = resolved(
      R"({"nodes": [{"count": 2, "gpus": ["h100", "h100"], "nic": {"link": "ib-ndr", "count": 4}}],
          "intra_node": {"link": "nvlink4"}})");
  const ProfileLibrary library;
  const NodeData& node = lab.network.nodes.front();
  EXPECT_EQ(node.nics, 4);
  EXPECT_EQ(node.nic->bandwidth, library.link_sheet("ib-ndr")->bandwidth);
  EXPECT_EQ(node.intra_node.bandwidth, library.link_sheet("nvlink4")->bandwidth);
  EXPECT_TRUE(node.intra_node.traits.switch_reduces);
  EXPECT_EQ(node.intra_node.traits.kind, LinkKind::kNvlink);
  EXPECT_EQ(node.accelerator, Accelerator::kHopper);
  EXPECT_THAT(noises(lab.jobs.front()), ElementsAre("ib-ndr", "nvlink4"));
}

TEST(LinkFigures, GpusStandForTheirUsualPath) {
  EXPECT_EQ(resolved(R"({"nodes": [{"gpus": ["a100", "a100"]}]})")
                .network.nodes.front()
                .intra_node.bandwidth,
            ProfileLibrary().link_sheet("nvlink3")->bandwidth);
  // The slower of two kinds.
  const ResolvedExperiment mixed = resolved(R"({"nodes": [{"gpus": ["rtx-4080", "rtx-2080"]}]})");
  EXPECT_EQ(mixed.network.nodes.front().intra_node.bandwidth,
            ProfileLibrary().link_sheet("pcie3-x16-host")->bandwidth);
  EXPECT_THAT(mixed.jobs.front().warnings,
              ::testing::Contains(HasSubstr("pcie3-x16-host is assumed")));
}

TEST(LinkFigures, PcieGoesByGenerationAndLanes) {
  EXPECT_EQ(usual_path({
                .pcie = PcieSlot{.generation = 4, .lanes = 8}
  }),
            "pcie4-x8");
  EXPECT_EQ(usual_path({
                .pcie = PcieSlot{.generation = 4, .lanes = 8},
                  .intra_node = "nvlink3"
  }),
            "nvlink3");
  EXPECT_EQ(usual_path({}), "");
}

TEST(LinkFigures, SpecifiedFiguresHaveASpread) {
  const ResolvedExperiment lab =
      resolved(R"({"nodes": [{"count": 2, "gpus": ["a40"]}], "network": {"bandwidth": "10Gbps"}})");
  EXPECT_THAT(noises(lab.jobs.front()), ElementsAre("as specified"));
}

TEST(LinkFigures, AnUnknownLinkIsNamedWithItsPlace) {
  const Experiment experiment =
      experiment_of(R"({"nodes": [{"count": 2, "gpus": ["a40"]}], "network": {"link": "ib-ndt"}})");
  try {
    (void)load_profiles(experiment, ProfileLibrary());
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("/cluster/network: unknown link \"ib-ndt\" (did you mean \"ib-ndr\"?)"));
  }
}

TEST(LinkFigures, FiguresBesideALinkAreRefused) {
  try {
    (void)experiment_of(
        R"({"nodes": [{"count": 2, "gpus": ["a40"]}],
            "network": {"link": "ib-ndr", "latency": "1us"}})");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("is given beside a link, which says it already"));
  }
}

// GPUs of one cluster may be CPUs that train for real: their name, or their profile's device,
// tells.
TEST(LinkFigures, CpusAreToldByTheirDevice) {
  ProfileSet profiles;
  profiles.gpus["cpu-host"] = {.name = "cpu-host"};
  profiles.gpus["slow"] = {.name = "slow", .device_name = "AMD EPYC 9654"};
  profiles.gpus["fast"] = {.name = "fast", .device_name = "NVIDIA X"};
  const auto of = [&](const char* gpu) {
    return accelerator_of({.gpus = {{.model = gpu}}}, profiles);
  };
  EXPECT_EQ(of("cpu-host"), Accelerator::kCpu);
  EXPECT_EQ(of("slow"), Accelerator::kCpu);
  EXPECT_EQ(of("fast"), Accelerator::kAmpere);
}

}  // namespace
}  // namespace vitsim
