// Inputs that people have and that went wrong, beside the checkout: each gives what is right.
#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/fit/fit.h"
#include "calibrate/import/import.h"
#include "models/distribution.h"
#include "models/error.h"
#include "tests/support/broken_input.h"
#include "tests/support/import_samples.h"

namespace vitsim {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class Cases : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::is_directory(folder_)) {
      GTEST_SKIP() << "no cases beside the checkout";
    }
  }

  [[nodiscard]] Measurement read(const std::string& file, const ImportHints& hints = {}) const {
    return import_files(std::vector{folder_ / file}, hints);
  }

  /// Seconds of the largest size, out of place, of a table of one collective.
  [[nodiscard]] double largest_s(const Measurement& measurement, MeasuredCollective kind) const {
    const CollectiveSeries* largest = nullptr;
    for (const Sample& sample : measurement.samples) {
      const auto* series = sample.collective(kind);
      if (series != nullptr && (largest == nullptr || series->bytes > largest->bytes)) {
        largest = series;
      }
    }
    return largest == nullptr ? 0 : median(largest->seconds);
  }

  /// What the ring's fit says of the network that a table shows.
  [[nodiscard]] double fitted_bytes_per_s(const std::string& file) const {
    return fit(read(file), {}).links.begin()->second.bandwidth.value();
  }

  fs::path folder_ = fs::path(VITSIM_SOURCE_DIR) / "../shared/cases";
};

// Repeats, time stamps and the name of the program change nothing of what was measured.
TEST_F(Cases, NcclTestsOfOneNetworkGiveOneNetwork) {
  for (const char* file : {"once.log", "twice.log", "timestamps-1g.log"}) {
    EXPECT_NEAR(fitted_bytes_per_s(std::string("nccl-tests/") + file), 117.5e6, 0.01 * 117.5e6)
        << file;
  }
  const Measurement twice = read("nccl-tests/twice.log");
  std::set<std::string> runs;
  for (const Sample& sample : twice.samples) {
    ASSERT_NE(sample.as<CollectiveSeries>(), nullptr);
    EXPECT_EQ(sample.as<CollectiveSeries>()->ranks, 4);
    runs.insert(sample.as<CollectiveSeries>()->series);
  }
  EXPECT_THAT(runs, SizeIs(2));
  // rccl-tests' lines of JSON and the program with a suffix are of one machine.
  EXPECT_NEAR(fitted_bytes_per_s("nccl-tests/rccl.jsonl"),
              fitted_bytes_per_s("nccl-tests/suffix-mpi.log"),
              0.01 * 11.7e9);
}

// A ring of 4: three messages of a quarter each.
TEST_F(Cases, AReduceScatterIsNoAllReduce) {
  const Measurement measurement = read("nccl-tests/reduce_scatter-1g.log");
  EXPECT_EQ(largest_s(measurement, MeasuredCollective::kAllReduce), 0);
  const double seconds = largest_s(measurement, MeasuredCollective::kReduceScatter);
  EXPECT_NEAR(268435456.0 * 3 / 4 / seconds, 117.5e6, 0.01 * 117.5e6);
}

TEST_F(Cases, OneRankHasNoLink) {
  EXPECT_THAT(test::refusal([&] { (void)read("nccl-tests/no-mpi-one.log"); }),
              AllOf(HasSubstr("one rank"), HasSubstr("MPI=1")));
}

TEST_F(Cases, DeepspeedStartsAreRuns) {
  const Measurement measurement = read("deepspeed/sweep.log");
  ASSERT_THAT(measurement.runs, SizeIs(2));
  EXPECT_EQ(measurement.runs[0].micro_batch, std::vector<std::int64_t>{16});
  EXPECT_EQ(measurement.runs[1].micro_batch, std::vector<std::int64_t>{32});
  EXPECT_THAT(figures(measurement.samples, "forward", 0, measurement.runs[0].name), SizeIs(60));
  EXPECT_THAT(figures(measurement.samples, "forward", 0, measurement.runs[1].name), SizeIs(30));
}

// Stage 2 sends something else than stage 0.
TEST_F(Cases, AStageIsNoOther) {
  const Measurement measurement = read("deepspeed/zero2.log");
  ASSERT_THAT(measurement.runs, SizeIs(1));
  EXPECT_EQ(name(measurement.runs.front().gradient_sync), "deepspeed-zero-2");
}

TEST_F(Cases, ForeignTimersAreCounted) {
  const Measurement measurement = read("deepspeed/pipeline-neox.log");
  EXPECT_THAT(measurement.warnings, Each(Not(HasSubstr("mangled"))));
  EXPECT_THAT(measurement.warnings, Contains(HasSubstr("30 lines of other timers")));
}

// Three steps of 100 ms, four kernels of 18 ms each.
TEST_F(Cases, TracesOfAllVersionsShowTheSameCompute) {
  for (const char* file : {"new.json", "pt18-capital.json", "keys-last.json", "rocm-marker.json"}) {
    const Measurement measurement = read(std::string("kineto/") + file);
    const std::vector<double> compute = figures(measurement.samples, "compute", 0);
    ASSERT_THAT(compute, SizeIs(3)) << file;
    EXPECT_NEAR(compute[1], 0.072, 1e-9) << file;
    EXPECT_NEAR(figures(measurement.samples, "step", 0)[0], 0.100, 1e-9) << file;
    EXPECT_NEAR(figures(measurement.samples, "kernels", 0)[1], 0.072, 1e-9) << file;  // GEMM
  }
  const Calibration calibration =
      fit(read("kineto/new.json",
               {.gpus = {"a100"}, .model = vit_variant("vit-b-16"), .micro_batch = {16}}),
          {});
  const StepPoint& point = calibration.gpus.at("a100").steps.at(0).points.at(0);
  EXPECT_NEAR((point.forward + point.backward).value(), 0.072, 0.072 * 0.01);
}

}  // namespace
}  // namespace vitsim
