// From nccl-tests' output of one machine to a link profile and back to the same table.
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "calibrate/fit/fit.h"
#include "calibrate/import/import.h"
#include "sim/assess/calibration_check.h"
#include "sim/collective/table.h"
#include "sim/job/resolve.h"
#include "tests/support/temporary_folder_support.h"

namespace vitsim {
namespace {

constexpr std::int64_t kRanks = 8;
constexpr double kLatency_s = 10e-6;
constexpr double kBandwidth_bytes_per_s = 20e9;

// A ring of 8: 14 messages of an eighth each.
double ring_s(std::int64_t bytes) {
  const auto n = static_cast<double>(kRanks);
  return 2 * (n - 1) *
         (kLatency_s + std::ceil(static_cast<double>(bytes) / n) / kBandwidth_bytes_per_s);
}

// What all_reduce_perf prints where all GPUs are in one machine.
std::string table_of_one_node() {
  std::string text = "# nThread 1 nGpus 8 minBytes 1024 maxBytes 134217728\n# Using devices\n";
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    text += fmt::format(
        "#  Rank  {0} Group  0 Pid  91 on  node01 device  {0} [0x0{0}] NVIDIA A40\n", rank);
  }
  text += "#  size  count  type  redop  root  time  algbw  busbw #wrong\n";
  for (std::int64_t bytes = 1024; bytes <= 134'217'728; bytes *= 4) {
    const double algbw = static_cast<double>(bytes) / ring_s(bytes) / 1e9;
    text += fmt::format("{} {} float sum -1 {:.2f} {:.3f} {:.3f} 0\n",
                        bytes,
                        bytes / 4,
                        ring_s(bytes) * 1e6,
                        algbw,
                        algbw * 14 / 8);
  }
  return text;
}

class NcclLink : public ::testing::Test {
 protected:
  Calibration calibration(const ImportHints& hints) {
    const std::vector<std::filesystem::path> files = {
        folder_.write("ring.txt", table_of_one_node())};
    return fit(import_files(files, hints), {});
  }

  test::TemporaryFolder folder_;
};

TEST_F(NcclLink, IsThePathInsideTheNode) {
  const Calibration found = calibration({.cluster = "lab"});
  ASSERT_EQ(found.links.size(), 1U);
  ASSERT_EQ(found.links.count("lab-node"), 1U);
  const LinkProfile& link = found.links.at("lab-node");
  EXPECT_NEAR(link.latency.value(), kLatency_s, 0.05 * kLatency_s);
  EXPECT_NEAR(link.bandwidth.value(), kBandwidth_bytes_per_s, 0.01 * kBandwidth_bytes_per_s);
  // One number of ranks does not tell overhead from latency; together they are 14 times 10 us.
  EXPECT_LT(link.collective_overhead.value(), kLatency_s);
  EXPECT_NEAR(link.collective_overhead.value() + 14 * link.latency.value(), 140e-6, 2e-6);
}

TEST_F(NcclLink, WithoutAClusterItIsANodesToo) {
  EXPECT_EQ(calibration({}).links.count("node"), 1U);
}

TEST_F(NcclLink, ReproducesTheTableItComesFrom) {
  const Calibration found = calibration({.cluster = "lab"});
  GpuProfile gpu{.name = "a40"};
  gpu.steps = {
      {.points = {{.micro_batch = 16, .forward = Seconds(0.1), .backward = Seconds(0.2)}}}};
  const ResolvedExperiment resolved =
      resolve(experiment_of({.cluster = "lab",
                             .one_node = true,
                             .gpus = std::vector<std::string>(kRanks, "a40"),
                             .micro_batch = {16}}),
              {.gpus = {{"a40", gpu}}, .links = found.links, .sheets = {}});
  const Network& network = *resolved.network;
  std::vector<std::int64_t> ranks(kRanks);
  std::iota(ranks.begin(), ranks.end(), std::int64_t{0});
  const auto rows = collective_table(Communicator(network, ranks),
                                     CollectiveKind::kAllReduce,
                                     AllReduceAlgorithm::kRing,
                                     1024,
                                     134'217'728,
                                     to_ticks(resolved.jobs.front().collective_overhead));
  ASSERT_EQ(rows.size(), 18U);  // doubling: every second size was not measured
  for (const CollectiveRow& row : rows) {
    EXPECT_NEAR(row.time.value(), ring_s(row.bytes), 0.02 * ring_s(row.bytes)) << row.bytes;
  }
}

}  // namespace
}  // namespace vitsim
