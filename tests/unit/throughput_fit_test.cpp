#include "calibrate/fit/throughput_fit.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "calibrate/compute/operator_curve.h"

namespace vitsim {
namespace {

// A card at 30 TFLOP/s and 270 GB/s (0.6 of its sheet) whose host launches an operator in 65 us.
OperatorCurve card(Precision precision) {
  return {.kind = "forward",
          .precision = precision,
          .flops_per_s = FlopsPerSecond(30e12),
          .bytes_per_s = BytesPerSecond(270e9),
          .overhead = microseconds(65)};
}

FitOptions sheet() {
  FitOptions options;
  options.sheets["card"] = {.name = "card", .memory_bandwidth = BytesPerSecond(450e9)};
  return options;
}

void add_sample(Measurement& measurement,
                PassSeries::Kind kind,
                Precision precision,
                std::int64_t batch,
                double seconds) {
  measurement.samples.push_back({
      .series = PassSeries{.kind = kind,
                           .gpu = "card",
                           .model = *vit_variant("vit-b-16"),
                           .precision = precision,
                           .batch = batch,
                           .optimizer = "adamw",
                           .torch = "2.4",
                           .seconds = {seconds}}
  });
}

const OperatorCurve& curve_of(const Calibration& calibration, const std::string& kind) {
  const auto& operators = calibration.gpus.at("card").operators;
  return *std::ranges::find(operators, kind, &OperatorCurve::kind);
}

// At batch 1 launches last 124 * 65 us = 8.1 ms; the work of an image at batch 32 takes 1.7 ms. A
// fit that starts from that pass takes 8 ms for arithmetic, and the true ones for outliers.
TEST(ThroughputFit, SmallBatchesShowLaunchesAndLargeOnesArithmetic) {
  const VitSpec model = *vit_variant("vit-b-16");
  const OperatorCurve truth = card(Precision::kFp16);
  ASSERT_GT(pass_seconds(truth, model, 1, 1), 4 * pass_seconds(truth, model, 32, 1) / 32);
  Measurement measurement;
  for (const std::int64_t batch : {1, 8, 32}) {
    add_sample(measurement,
               PassSeries::Kind::kForward,
               truth.precision,
               batch,
               pass_seconds(truth, model, batch, 1));
  }
  const Calibration calibration = fit(measurement, sheet());
  const OperatorCurve& fitted = curve_of(calibration, "forward");
  EXPECT_NEAR(fitted.overhead.value(), 65e-6, 1e-6);
  for (const std::int64_t batch : {1, 4, 8, 16, 32, 128}) {
    EXPECT_NEAR(
        pass_seconds(fitted, model, batch, 1) / pass_seconds(truth, model, batch, 1), 1, 0.02)
        << batch;
  }
}

// The same of whole steps: three passes and an update at 100 GB/s.
TEST(ThroughputFit, WholeStepsShowLaunchesToo) {
  const VitSpec model = *vit_variant("vit-b-16");
  const OperatorCurve truth = card(Precision::kFp16);
  const OperatorCurve update{.kind = "optimizer", .bytes_per_s = BytesPerSecond(100e9)};
  const auto step = [&](const OperatorCurve& passes, const OperatorCurve& updates, int batch) {
    return pass_seconds(passes, model, batch, 3) +
           optimizer_seconds(updates, model, OptimizerKind::kAdamW);
  };
  Measurement measurement;
  for (const int batch : {1, 2, 8, 32, 64}) {
    add_sample(measurement,
               PassSeries::Kind::kTrainStep,
               truth.precision,
               batch,
               step(truth, update, batch));
  }
  const Calibration calibration = fit(measurement, sheet());
  const OperatorCurve& passes = curve_of(calibration, "backward");
  const OperatorCurve& updates = curve_of(calibration, "optimizer");
  for (const int batch : {1, 4, 16, 32, 128}) {
    EXPECT_NEAR(step(passes, updates, batch) / step(truth, update, batch), 1, 0.05) << batch;
  }
}

// No pass is short enough to show launches: their overhead stays what it is taken for.
TEST(ThroughputFit, LaunchesThatNothingShowsStayTypical) {
  const VitSpec model = *vit_variant("vit-b-16");
  OperatorCurve truth = card(Precision::kFp16);
  truth.overhead = microseconds(1);
  Measurement measurement;
  for (const std::int64_t batch : {16, 32, 64}) {
    add_sample(measurement,
               PassSeries::Kind::kForward,
               truth.precision,
               batch,
               pass_seconds(truth, model, batch, 1));
  }
  const Calibration calibration = fit(measurement, sheet());
  EXPECT_NEAR(curve_of(calibration, "forward").overhead.value(), kTypicalLaunch.value(), 1e-9);
}

}  // namespace
}  // namespace vitsim
