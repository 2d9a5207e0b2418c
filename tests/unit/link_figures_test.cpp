#include "sim/job/link_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/profile/library.h"
#include "calibrate/profile/lookup.h"
#include "models/error.h"
#include "sim/job/resolve.h"

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

std::vector<std::string> noises(const ResolvedJob& job) {
  std::vector<std::string> names;
  for (const LinkNoise& noise : job.link_noise) {
    names.push_back(noise.name);
    EXPECT_GT(noise.spread.run_sigma.value_or(0), 0) << noise.name;
  }
  return names;
}

/// The data of a link of the first node: of its first NIC, or of its first GPU's way out.
const LinkData& nic_of(const ResolvedExperiment& lab) {
  return lab.network->links()[lab.network->nic_links(lab.network->node_name(0)).front()];
}

const LinkData& inside_of(const ResolvedExperiment& lab) {
  return lab.network->links()[lab.network->ports_of(0)->first];
}

TEST(LinkFigures, ASheetGivesFiguresAndTraits) {
  const ResolvedExperiment lab = resolved(
      R"({"nodes": [{"count": 2, "gpus": ["h100", "h100"], "nic": {"link": "ib-ndr", "count": 4}}],
          "intra_node": {"link": "nvlink4"}})");
  const ProfileLibrary library;
  EXPECT_EQ(lab.network->nics_of(0), 4U);
  EXPECT_EQ(nic_of(lab).bandwidth, library.link_sheet("ib-ndr")->bandwidth);
  EXPECT_EQ(inside_of(lab).bandwidth, library.link_sheet("nvlink4")->bandwidth);
  EXPECT_TRUE(inside_of(lab).traits.switch_reduces);
  EXPECT_EQ(inside_of(lab).traits.kind, LinkKind::kNvlink);
  EXPECT_EQ(lab.network->accelerator_of(0), Accelerator::kHopper);
  EXPECT_THAT(noises(lab.jobs.front()), ElementsAre("ib-ndr", "nvlink4"));
}

TEST(LinkFigures, GpusStandForTheirUsualPath) {
  EXPECT_EQ(inside_of(resolved(R"({"nodes": [{"gpus": ["a100", "a100"]}]})")).bandwidth,
            ProfileLibrary().link_sheet("nvlink3")->bandwidth);
  // The slower of two kinds.
  const ResolvedExperiment mixed = resolved(R"({"nodes": [{"gpus": ["rtx-4080", "rtx-2080"]}]})");
  EXPECT_EQ(inside_of(mixed).bandwidth, ProfileLibrary().link_sheet("pcie3-x16-host")->bandwidth);
  EXPECT_THAT(mixed.jobs.front().warnings,
              ::testing::Contains(HasSubstr("pcie3-x16-host is assumed")));
}

TEST(LinkFigures, PcieGoesByGenerationAndLanes) {
  EXPECT_EQ(usual_path({.pcie = PcieSlot{.generation = 4, .lanes = 8}}), "pcie4-x8");
  EXPECT_EQ(usual_path({.pcie = PcieSlot{.generation = 4, .lanes = 8}, .intra_node = "nvlink3"}),
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
