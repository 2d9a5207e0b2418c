#include "calibrate/compute_model.h"

#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

StepPoint point(std::int64_t batch, double forward_ms, double backward_ms) {
  return {.micro_batch = batch,
          .data_load = milliseconds(0.1 * static_cast<double>(batch)),
          .forward = milliseconds(forward_ms),
          .backward = milliseconds(backward_ms),
          .optimizer = milliseconds(20),
          .other = milliseconds(4),
          .count = 100};
}

OperatorCurve curve(const std::string& kind, Precision precision, double tera_flops) {
  return {.kind = kind,
          .precision = precision,
          .flops_per_s = FlopsPerSecond(tera_flops * 1e12),
          .bytes_per_s = BytesPerSecond(4e11),
          .overhead = Seconds(0)};
}

ProfileSet profiles() {
  ProfileSet set;
  GpuProfile gpu{.name = "known"};
  gpu.steps = {
      {.model = *vit_variant("vit-b-16"),
       .precision = Precision::kFp32,
       .optimizer = OptimizerKind::kAdamW,
       .points = {point(8, 30, 60), point(16, 50, 100), point(32, 90, 180)}}
  };
  gpu.operators = {curve("forward", Precision::kFp32, 10), curve("backward", Precision::kFp32, 10)};
  gpu.spread = {.step_sigma = 0.0, .unit_sigma = 0.0, .run_sigma = 0.01, .run_degrees = 9};
  set.gpus["known"] = gpu;
  set.sheets["known"] = {.name = "known",
                         .architecture = "turing",
                         .memory = mebibytes(16384),
                         .memory_bandwidth = BytesPerSecond(5e11),
                         .fp32 = FlopsPerSecond(20e12)};
  set.sheets["unknown"] = set.sheets["known"];
  set.sheets["unknown"].name = "unknown";
  set.sheets["unknown"].fp32 = FlopsPerSecond(40e12);
  set.sheets["unknown"].memory_bandwidth = BytesPerSecond(10e11);
  return set;
}

TrainingSpec training(const char* model = "vit-b-16") {
  return {.model = *vit_variant(model), .micro_batch = {16}};
}

double total_ms(const ComputeModel& model, std::int64_t batch) {
  const MicroBatchTimes times = model.at(batch);
  return 1e3 * (times.forward + times.backward).value();
}

TEST(ComputeModel, AMeasuredPointIsReturnedAsItIs) {
  const auto model = make_compute_model("known", training(), 16, profiles());
  EXPECT_DOUBLE_EQ(total_ms(*model, 16), 150);
  EXPECT_DOUBLE_EQ(model->optimizer.value(), 0.020);
  EXPECT_DOUBLE_EQ(model->at(16).data_load.value(), 1.6e-3);
  EXPECT_EQ(model->basis.kind, "measured");
  EXPECT_DOUBLE_EQ(*model->spread.run_sigma, 0.01);
}

// Halfway between 16 (150 ms) and 32 (270 ms).
TEST(ComputeModel, BetweenPointsTimeIsAStraightLine) {
  const auto model = make_compute_model("known", training(), 24, profiles());
  EXPECT_DOUBLE_EQ(total_ms(*model, 24), 210);
  EXPECT_EQ(model->basis.kind, "interpolated");
}

// The line through 16 and 32 goes on: 270 + 120 at 48. The interval widens.
TEST(ComputeModel, OutsideTheLineGoesOnAndTheIntervalWidens) {
  const auto model = make_compute_model("known", training(), 48, profiles());
  EXPECT_DOUBLE_EQ(total_ms(*model, 48), 390);
  EXPECT_EQ(model->basis.kind, "extrapolated");
  EXPECT_GT(*model->spread.run_sigma, 0.01);
}

// Below 8 the line through 16 and 8 would give 45 at 1; work per image alone gives 90 / 8 = 11.25.
TEST(ComputeModel, BelowTheSmallestPointTimeStaysAboveTheWorkPerImage) {
  const auto model = make_compute_model("known", training(), 1, profiles());
  EXPECT_NEAR(total_ms(*model, 1), 90 - 7 * (150 - 90) / 8.0, 1e-9);
  EXPECT_EQ(total_ms(*model, 0), 0);
}

// Another size on a calibrated GPU: by throughput, scaled so that the measured size comes out
// right.
TEST(ComputeModel, AnotherModelScalesWithItsWork) {
  const auto base = make_compute_model("known", training(), 16, profiles());
  const auto large = make_compute_model("known", training("vit-l-16"), 16, profiles());
  EXPECT_EQ(large->basis.kind, "operator-curves");
  const double work =
      forward_flops(*vit_variant("vit-l-16")) / forward_flops(*vit_variant("vit-b-16"));
  EXPECT_NEAR(total_ms(*large, 16) / total_ms(*base, 16), work, 0.1 * work);
  EXPECT_GT(*large->spread.run_sigma, 0.05);
}

// Twice the arithmetic and twice the bandwidth: half the time, and an interval that admits it.
TEST(ComputeModel, ADataSheetScalesTheCalibratedGpu) {
  const ProfileSet set = profiles();
  const auto known = make_compute_model("known", training("vit-s-16"), 16, set);
  const auto unknown = make_compute_model("unknown", training("vit-s-16"), 16, set);
  EXPECT_EQ(unknown->basis.kind, "data-sheet");
  EXPECT_GE(*unknown->spread.run_sigma, 0.1);
  EXPECT_LT(total_ms(*unknown, 16), total_ms(*known, 16));
}

// No tensor cores: fp16 is no faster than fp32 here, and the report says what it rests on.
TEST(ComputeModel, APrecisionThatWasNotMeasuredSaysSo) {
  TrainingSpec half = training();
  half.precision = Precision::kFp16;
  const auto model = make_compute_model("known", half, 16, profiles());
  EXPECT_EQ(model->basis.kind, "data-sheet");
  EXPECT_NE(model->basis.detail.find("fp32"), std::string::npos);
}

TEST(ComputeModel, NothingKnownIsAnError) {
  EXPECT_THROW(make_compute_model("nobody", training(), 16, profiles()), UserError);
}

TEST(ComputeModel, AFasterSheetNeverPredictsASlowerStep) {
  ProfileSet set = profiles();
  double before = 1e9;
  for (const double tera : {5.0, 10.0, 20.0, 40.0, 80.0}) {
    set.sheets["unknown"].fp32 = FlopsPerSecond(tera * 1e12);
    const double now = total_ms(*make_compute_model("unknown", training(), 16, set), 16);
    EXPECT_LE(now, before);
    before = now;
  }
}

}  // namespace
}  // namespace vitsim
