// DeepSpeed 0.19 on emulated hosts: compute calibrated on one host alone, the network by AllReduces
// alone, then runs on several hosts predicted from both.
#include <algorithm>

#include <gtest/gtest.h>

#include "calibrate/fit/fit.h"
#include "calibrate/fit/run_summary.h"
#include "calibrate/import/import.h"
#include "models/experiment/experiment.h"
#include "sim/job/resolve.h"
#include "sim/predict/predict.h"

namespace vitsim {
namespace {

namespace fs = std::filesystem;

const fs::path kRuns = fs::path(VITSIM_SOURCE_DIR) / "../shared/reference-runs/deepspeed-0.19";

// 2,738,596 parameters: 10,954,384 bytes of fp32 gradients.
VitSpec small_vit() {
  VitSpec vit;
  vit.name = "small";
  vit.layers = 6;
  vit.width = 192;
  vit.heads = 3;
  vit.mlp = 768;
  vit.patch = 8;
  vit.image_size = 64;
  vit.classes = 100;
  return vit;
}

Measurement import_run(const std::string& name, const std::string& gpu) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(kRuns)) {
    if (entry.path().filename().string().starts_with(name + ".")) {
      files.push_back(entry.path());
    }
  }
  ImportHints hints{.cluster = "lan", .gpus = {gpu}, .model = small_vit()};
  hints.precision = Precision::kFp32;
  return import_files(files, hints);
}

class EmulatedDeepspeed : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kRuns)) {
      GTEST_SKIP() << "no reference runs in ../shared";
    }
    for (const auto& [run, gpu] : {std::pair("em_cal_50", "host-50"), {"em_cal_25", "host-25"}}) {
      const Calibration host = fit(import_run(run, gpu), {});
      profiles_.gpus.insert(host.gpus.begin(), host.gpus.end());
    }
    const Calibration network = fit(import_run("ar_2x1g", ""), {});
    profiles_.links.insert(network.links.begin(), network.links.end());
  }

  // Step of a run on hosts of these kinds, with the network or with bandwidths written by host.
  double step(const std::vector<std::string>& hosts, const std::vector<double>& bits_per_s = {}) {
    Experiment experiment;
    experiment.training.model = small_vit();
    experiment.training.dataset = {.name = "recorded", .samples = 16'000};
    experiment.training.micro_batch = {16};
    experiment.training.gradient_sync = GradientSync::kDeepspeedZero0;
    experiment.cluster.network = LinkSpec{.profile = "lan-ethernet"};
    for (std::size_t i = 0; i < hosts.size(); ++i) {
      NodeSpec node{.name = "h" + std::to_string(i), .gpus = {{.model = hosts[i]}}};
      if (i < bits_per_s.size()) {
        node.nic = LinkSpec{.bandwidth = BytesPerSecond(bits_per_s[i] / 8), .latency = Seconds(0)};
      }
      experiment.cluster.nodes.push_back(std::move(node));
    }
    return predict(resolve(experiment, profiles_), {.gains = false}).front().step_s.p50;
  }

  ProfileSet profiles_;
};

TEST_F(EmulatedDeepspeed, PredictsTwoHostsFromOneHostAndTheNetworkAlone) {
  const Measurement measured = import_run("em_A_2x50_1g", "host-50");
  const std::vector<RunSummary> summaries = summarise(measured);
  ASSERT_EQ(summaries.size(), 1U);
  ASSERT_EQ(summaries.front().ranks.size(), 2U);
  const double step_s = summaries.front().ranks.front().wall_step_s.value();
  EXPECT_NEAR(step_s, 0.570, 0.003);  // as ../shared says
  EXPECT_NEAR(step({"host-50", "host-50"}) / step_s, 1, 0.03);
}

TEST_F(EmulatedDeepspeed, TheSlowerHostSetsThePace) {
  // em_cal_25 alone takes 1.0 s a step. Waiting for it costs the faster host, not the pair: the
  // wire adds what it adds to two equal hosts, 10,954,384 bytes at line rate of 1 Gbit/s = 88 ms.
  const double wire = step({"host-50", "host-50"}) - step({"host-50"});
  EXPECT_NEAR(wire, 0.088, 0.006);
  EXPECT_NEAR(step({"host-50", "host-25"}) - step({"host-25"}), wire, 0.01);
}

TEST_F(EmulatedDeepspeed, ASlowLinkSlowsTheRing) {
  // Ring of two: each host sends half of the bytes twice, so all of them, through its own link:
  // 10,954,384 B * 8 / 100 Mbit/s = 876 ms, whatever the other link does.
  const double alone = step({"host-50"});
  EXPECT_NEAR(step({"host-50", "host-50"}, {1e9, 1e8}) - alone, 0.876, 0.01);
  // Ring of three: 4 messages of a third: 10,954,384 * 8 * 4 / 3 / 100 Mbit/s = 1168 ms.
  EXPECT_NEAR(step({"host-50", "host-50", "host-50"}, {1e9, 1e8, 1e9}) - alone, 1.168, 0.02);
}

}  // namespace
}  // namespace vitsim
