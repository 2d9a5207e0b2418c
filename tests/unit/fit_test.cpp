#include "calibrate/fit/fit.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/fit/spread.h"
#include "calibrate/fit/step_fit.h"
#include "models/error.h"
#include "sim/sample/random.h"
#include "tests/support/import_samples.h"

namespace vitsim {
namespace {

// A laboratory whose truth is known: two kinds of GPU on one network.
constexpr double kFastForward = 0.050;
constexpr double kFastBackward = 0.110;
constexpr double kSlowCompute = 0.700;
constexpr double kOptimizer = 0.010;
constexpr double kLoadPerSample = 1e-4;
constexpr double kLatency = 2e-3;  // of a message from rank to rank
constexpr double kBandwidth = 1e9;
constexpr std::int64_t kBatch = 16;
constexpr std::int64_t kSteps = 40;
constexpr std::int64_t kEpochs = 3;

double ring(std::size_t ranks) {
  const double bytes = 4.0 * 86'567'656;
  const auto n = static_cast<double>(ranks);
  return ranks < 2 ? 0 : 2 * (n - 1) * (kLatency + std::ceil(bytes / n) / kBandwidth);
}

class Laboratory {
 public:
  /// Records a run; `logged` says whether rank 0's phases are in the log.
  void run(const std::string& name, const std::vector<std::string>& gpus, bool logged) {
    RecordedRun run{
        .name = name, .cluster = "lab", .gpus = gpus, .model = *vit_variant("vit-b-16")};
    run.micro_batch = {kBatch};
    run.epochs = kEpochs;
    run.samples = kBatch * kSteps * static_cast<std::int64_t>(gpus.size());
    measurement.runs.push_back(run);

    const auto compute = [](const std::string& gpu) {
      return gpu == "fast" ? kFastForward + kFastBackward : kSlowCompute;
    };
    double slowest = 0;
    for (const std::string& gpu : gpus) {
      slowest = std::max(slowest, compute(gpu));
    }
    const double own = compute(gpus.front());
    const double reduce = ring(gpus.size()) + slowest - own;
    const double load = kLoadPerSample * kBatch;
    const double step = load + slowest + kOptimizer + ring(gpus.size());
    measurement.samples.push_back(
        {.series = EpochSeries{.seconds = std::vector<double>(kEpochs,
                                                              static_cast<double>(kSteps) * step)},
         .run = name});
    if (!logged) {
      return;
    }
    const double forward = own * kFastForward / (kFastForward + kFastBackward);
    add(name, StepPart::kForward, forward);
    add(name, StepPart::kBackwardCompute, own - forward);
    add(name, StepPart::kGradientAllReduce, reduce);
    add(name, StepPart::kOptimizer, kOptimizer);
  }

  Measurement measurement;

 private:
  void add(const std::string& run, StepPart part, double seconds) {
    PhaseSeries series{.part = part};
    for (std::int64_t i = 0; i < kSteps * kEpochs; ++i) {
      // One per cent of noise, the same for every build.
      const double noise = uniform_at(1, {static_cast<std::uint64_t>(i), name(part).size()}) - 0.5;
      series.seconds.push_back(seconds * (1 + 0.02 * noise));
    }
    measurement.samples.push_back({.series = std::move(series), .run = run});
  }
};

StepPoint point_at(const GpuProfile& profile, std::int64_t batch) {
  for (const StepPoint& point : profile.steps.front().points) {
    if (point.micro_batch == batch) {
      return point;
    }
  }
  throw std::out_of_range("no such point");
}

TEST(Fit, FindsWhatTheLaboratoryIsMadeOf) {
  Laboratory lab;
  lab.run("one", {"fast"}, true);
  lab.run("two", {"fast", "fast"}, true);
  lab.run("three", {"fast", "fast", "fast"}, true);
  lab.run("four", {"fast", "fast", "fast", "fast"}, true);
  const Calibration calibration = fit(lab.measurement, {.leave_out = {}, .with_spread = false});
  const StepPoint point = point_at(calibration.gpus.at("fast"), kBatch);
  EXPECT_NEAR(point.forward.value(), kFastForward, 0.01 * kFastForward);
  EXPECT_NEAR(point.backward.value(), kFastBackward, 0.01 * kFastBackward);
  EXPECT_NEAR(point.optimizer.value(), kOptimizer, 0.01 * kOptimizer);
  EXPECT_NEAR(point.data_load.value(), kLoadPerSample * kBatch, 0.3 * kLoadPerSample * kBatch);
  const LinkProfile& link = calibration.links.at("lab-ethernet");
  for (const double ranks : {2.0, 3.0, 4.0}) {
    const double message = std::ceil(4.0 * 86'567'656 / ranks);
    const LinkPoint at = link.at(Bytes(message));
    // Two links in a row bring the path's latency, half each.
    EXPECT_NEAR(2 * at.latency.value() + message / at.bandwidth.value(),
                kLatency + message / kBandwidth,
                0.01 * message / kBandwidth)
        << ranks;
  }
}

// Steps of a run that was stopped early are compared with steps, not with the epoch it never had.
TEST(Fit, LeavesOutRunsWithoutAWholeEpoch) {
  Laboratory lab;
  lab.run("two", {"fast", "fast"}, true);
  lab.run("three", {"fast", "fast", "fast"}, true);
  lab.run("two again", {"fast", "fast"}, true);
  std::erase_if(lab.measurement.samples,
                [](const Sample& sample) { return sample.as<EpochSeries>() != nullptr; });
  for (const RecordedRun& run : lab.measurement.runs) {
    const double step =
        kLoadPerSample * kBatch + kFastForward + kFastBackward + kOptimizer + ring(run.gpus.size());
    lab.measurement.samples.push_back(
        {.series = StepSeries{.seconds = std::vector<double>(kSteps, step)}, .run = run.name});
  }
  const std::vector<RunSummary> summaries = summarise(lab.measurement);
  const std::vector<LeftOutRun> errors = leave_each_out(summaries, lab.measurement, {});
  ASSERT_EQ(errors.size(), 3U);
  for (const LeftOutRun& error : errors) {
    EXPECT_NEAR(error.log_error, 0, 0.1) << error.run;
  }
}

// No log names the slow GPU: it shows only as the rank that the logged one waits for.
TEST(Fit, InfersAGpuThatNoLogShows) {
  Laboratory lab;
  lab.run("one", {"fast"}, true);
  lab.run("two", {"fast", "fast"}, true);
  lab.run("three", {"fast", "fast", "fast"}, true);
  lab.run("mixed", {"fast", "fast", "slow"}, true);
  const Calibration calibration = fit(lab.measurement, {.leave_out = {}, .with_spread = false});
  const StepPoint point = point_at(calibration.gpus.at("slow"), kBatch);
  EXPECT_NEAR((point.forward + point.backward).value(), kSlowCompute, 0.02 * kSlowCompute);
  EXPECT_NEAR(point_at(calibration.gpus.at("fast"), kBatch).forward.value(),
              kFastForward,
              0.01 * kFastForward);
}

TEST(Fit, EpochsWithoutPhasesTellTheNetwork) {
  Laboratory lab;
  lab.run("one", {"fast"}, true);
  lab.run("two", {"fast", "fast"}, false);
  const Calibration calibration = fit(lab.measurement, {.leave_out = {}, .with_spread = false});
  const double message = std::ceil(4.0 * 86'567'656 / 2);
  const LinkPoint at = calibration.links.at("lab-ethernet").at(Bytes(message));
  EXPECT_NEAR(
      2 * (2 * at.latency.value() + message / at.bandwidth.value()), ring(2), 0.02 * ring(2));
}

TEST(Fit, OneStrangeRunDoesNotDragItsNeighbours) {
  Laboratory lab;
  for (int i = 0; i < 6; ++i) {
    lab.run("one-" + std::to_string(i), {"fast"}, true);
  }
  for (Sample& sample : lab.measurement.samples) {
    if (sample.run == "one-0") {
      scale(sample, 1.3);
    }
  }
  const Calibration calibration = fit(lab.measurement, {.leave_out = {}, .with_spread = false});
  const StepPoint point = point_at(calibration.gpus.at("fast"), kBatch);
  EXPECT_NEAR((point.forward + point.backward).value(), 0.160, 0.01 * 0.160);
}

TEST(Fit, ALeftOutRunThatOthersDoNotPinDownIsNotPredicted) {
  Laboratory lab;
  lab.run("one", {"fast"}, true);
  lab.run("two", {"fast", "fast"}, true);
  lab.run("mixed", {"fast", "slow"}, true);
  const auto errors =
      leave_each_out(summarise(lab.measurement), lab.measurement, {.leave_out = {}});
  std::vector<std::string> names;
  for (const LeftOutRun& error : errors) {
    names.push_back(error.run);
  }
  EXPECT_THAT(names, testing::Not(testing::Contains("mixed")));
}

// Runs that differ by +-2 % have a run sigma near 2 %, not the scatter of steps.
TEST(Fit, SpreadBetweenRunsIsNotTheScatterOfSteps) {
  Laboratory lab;
  for (int i = 0; i < 12; ++i) {
    lab.run("one-" + std::to_string(i), {"fast"}, true);
  }
  for (Sample& sample : lab.measurement.samples) {
    const double factor = (sample.run.back() % 2) == 0 ? 1.02 : 0.98;
    scale(sample, factor);
  }
  const Calibration calibration = fit(lab.measurement, {.leave_out = {}});
  const Spread& spread = calibration.gpus.at("fast").spread;
  ASSERT_TRUE(spread.run_sigma);
  EXPECT_NEAR(*spread.run_sigma, 0.022, 0.006);
  EXPECT_LT(spread.step_sigma.value_or(1), 0.01);
}

TEST(Fit, NothingToFitSaysSo) {
  EXPECT_THROW(fit(Measurement{}, {.leave_out = {}}), UserError);
}

}  // namespace
}  // namespace vitsim
