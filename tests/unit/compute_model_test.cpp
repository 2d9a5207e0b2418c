#include "calibrate/compute/compute_model.h"

#include <gtest/gtest.h>

#include "calibrate/compute/operator_curve.h"
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
  gpu.steps = {{.model = *vit_variant("vit-b-16"),
                .precision = Precision::kFp32,
                .optimizer = OptimizerKind::kAdamW,
                .points = {point(8, 30, 60), point(16, 50, 100), point(32, 90, 180)}}};
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

// Beyond 32 time goes on as the curves' does: from 270 ms at 32 by their ratio at 48. The interval
// widens.
TEST(ComputeModel, OutsideTheOperatorsGoOnAndTheIntervalWidens) {
  const ProfileSet set = profiles();
  const auto model = make_compute_model("known", training(), 48, set);
  const OperatorCurve& forward = set.gpus.at("known").operators[0];
  const double ratio = pass_seconds(forward, training().model, 48, 1) /
                       pass_seconds(forward, training().model, 32, 1);
  EXPECT_NEAR(total_ms(*model, 48), 270 * ratio, 1e-9);
  EXPECT_EQ(model->basis.kind, "extrapolated");
  EXPECT_GT(*model->spread.run_sigma, 0.01);
}

// Below 8 likewise. Nothing takes no time.
TEST(ComputeModel, BelowTheSmallestPointTheOperatorsGoOn) {
  const ProfileSet set = profiles();
  const auto model = make_compute_model("known", training(), 1, set);
  const OperatorCurve& forward = set.gpus.at("known").operators[0];
  const double ratio =
      pass_seconds(forward, training().model, 1, 1) / pass_seconds(forward, training().model, 8, 1);
  EXPECT_NEAR(total_ms(*model, 1), 90 * ratio, 1e-9);
  EXPECT_EQ(total_ms(*model, 0), 0);
}

// The host's wandering can make a larger batch look faster: neighbours out of order take their
// mean, 150 ms and 130 ms become 140.
TEST(ComputeModel, ALargerBatchNeverTakesLess) {
  ProfileSet set = profiles();
  set.gpus["known"].steps[0].points = {point(8, 50, 100), point(16, 40, 90), point(32, 90, 180)};
  const auto model = make_compute_model("known", training(), 16, set);
  EXPECT_DOUBLE_EQ(total_ms(*model, 8), 140);
  EXPECT_DOUBLE_EQ(total_ms(*model, 16), 140);
  EXPECT_DOUBLE_EQ(total_ms(*model, 32), 270);
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

TrainingSpec training_at(std::int64_t image_size, Precision precision = Precision::kFp32) {
  TrainingSpec spec = training();
  spec.model.image_size = image_size;
  spec.precision = precision;
  return spec;
}

// 240 px beside 224: by the curves' work, from what was measured at this very micro-batch, though
// time per image is 90 / 8 at 8 and 270 / 32 at 32. Inferred points (count 0) tell as much.
TEST(ComputeModel, AnotherSizeFollowsTheStepsOfItsMicroBatch) {
  ProfileSet set = profiles();
  set.gpus["known"].steps[0].points[0].count = 0;
  const auto near = make_compute_model("known", training_at(240), 16, set);
  ASSERT_EQ(near->basis.kind, "operator-curves");
  const OperatorCurve& forward = set.gpus["known"].operators[0];
  for (const auto& [batch, measured_ms] : {std::pair(8, 90.0), {16, 150.0}, {32, 270.0}}) {
    const double work = pass_seconds(forward, training_at(240).model, batch, 3) /
                        pass_seconds(forward, training_at(224).model, batch, 3);
    EXPECT_NEAR(total_ms(*near, batch), work * measured_ms, 1e-6) << batch;
  }
  // 12 lies between its neighbours in time per image.
  EXPECT_GT(total_ms(*near, 12) / 12, total_ms(*near, 16) / 16);
  EXPECT_LT(total_ms(*near, 12) / 12, total_ms(*near, 8) / 8);
}

// 28 bytes for each parameter at 100 GB/s in fp32 and 50 GB/s in fp16.
TEST(ComputeModel, UpdatesHaveASpeedOfTheirOwnInEachPrecision) {
  ProfileSet set = profiles();
  const auto updates = [](Precision precision, double bytes_per_s) {
    return OperatorCurve{
        .kind = "optimizer", .precision = precision, .bytes_per_s = BytesPerSecond(bytes_per_s)};
  };
  auto& operators = set.gpus["known"].operators;
  operators.push_back(updates(Precision::kFp32, 1e11));
  operators.push_back(updates(Precision::kFp16, 5e10));
  for (const Precision precision :
       {Precision::kFp16, Precision::kBf16, Precision::kTf32, Precision::kAmpFp16}) {
    operators.push_back(curve("forward", precision, 20));
    operators.push_back(curve("backward", precision, 20));
  }
  const auto parameters = static_cast<double>(parameter_count(training_at(240).model));
  const auto seconds = [&](const char* gpu, Precision precision) {
    return make_compute_model(gpu, training_at(240, precision), 16, set)->optimizer.value();
  };
  EXPECT_NEAR(seconds("known", Precision::kFp32), 28 * parameters / 1e11, 1e-12);
  EXPECT_NEAR(seconds("known", Precision::kFp16), 28 * parameters / 5e10, 1e-12);
  // bf16 keeps fp32 weights beside its own as fp16 does, tf32 and autocast do not.
  EXPECT_NEAR(seconds("known", Precision::kBf16), 28 * parameters / 5e10, 1e-12);
  EXPECT_NEAR(seconds("known", Precision::kTf32), 28 * parameters / 1e11, 1e-12);
  EXPECT_NEAR(seconds("known", Precision::kAmpFp16), 28 * parameters / 1e11, 1e-12);

  // A GPU measured in fp32 alone, 80 GB/s, takes the ratio of the one measured in both: a half.
  GpuProfile single{.name = "unknown"};
  single.operators = {curve("forward", Precision::kFp32, 10),
                      curve("backward", Precision::kFp32, 10),
                      updates(Precision::kFp32, 8e10)};
  set.gpus["unknown"] = single;
  EXPECT_NEAR(seconds("unknown", Precision::kFp16), 28 * parameters / 4e10, 1e-12);
}

// 0.1 ms for each sample of 224 x 224 on the calibrated machine, which unknown ones take for
// typical, and by the pixel for 240 x 240; a machine that measured 0 keeps it.
TEST(ComputeModel, LoadingIsThisMachinesOwnWhereItWasMeasured) {
  ProfileSet set = profiles();
  set.gpus["free"] = set.gpus["known"];
  set.gpus["free"].name = "free";
  for (StepPoint& point : set.gpus["free"].steps[0].points) {
    point.data_load = Seconds(0);
  }
  const auto load_ms = [&](const char* gpu, Precision precision) {
    const auto model = make_compute_model(gpu, training_at(240, precision), 16, set);
    return 1e3 * model->at(10).data_load.value();
  };
  EXPECT_EQ(load_ms("free", Precision::kFp32), 0);
  const double pixels = 240.0 * 240 / (224.0 * 224);
  EXPECT_NEAR(load_ms("known", Precision::kFp32), pixels, 1e-12);
  EXPECT_NEAR(load_ms("known", Precision::kFp16), pixels, 1e-12);  // by other_precision_model
  EXPECT_NEAR(load_ms("unknown", Precision::kFp32), pixels, 1e-12);
}

// Without a byte rate a pass is its arithmetic alone; without either rate of a donor, a data sheet
// still has the other.
TEST(ComputeModel, AnAbsentTermTakesNoTime) {
  ProfileSet set = profiles();
  set.gpus["known"].steps.clear();
  for (OperatorCurve& one : set.gpus["known"].operators) {
    one.bytes_per_s = BytesPerSecond(0);
  }
  const auto model = make_compute_model("known", training(), 16, set);
  double flops = 0;
  for (const Operator& op : forward_operators(training().model, Precision::kFp32)) {
    flops += static_cast<double>(op.count) * op.flops.value();
  }
  EXPECT_NEAR(total_ms(*model, 16), 1e3 * 3 * 16 * flops / 10e12, 1e-6);
  // Half of its peak like the calibrated one: 20 of 40 TFLOP/s.
  const auto unknown = make_compute_model("unknown", training(), 16, set);
  EXPECT_NEAR(total_ms(*unknown, 16), 1e3 * 3 * 16 * flops / 20e12, 1e-6);
}

// One GPU gained 1.5 times its peaks' ratio in fp16: another, measured in fp32 alone, gains as much
// in fp16 and, its numbers being as short, in autocast.
TEST(ComputeModel, AutocastGainsWhatShortNumbersGain) {
  ProfileSet set = profiles();
  for (const char* gpu : {"known", "unknown"}) {
    set.sheets[gpu].fp16 = 2 * set.sheets[gpu].fp32;
  }
  set.gpus["known"].steps.clear();
  set.gpus["unknown"] = set.gpus["known"];
  set.gpus["unknown"].name = "unknown";
  set.gpus["known"].operators.push_back(curve("forward", Precision::kFp16, 30));
  set.gpus["known"].operators.push_back(curve("backward", Precision::kFp16, 30));
  for (const Precision precision : {Precision::kFp16, Precision::kAmpFp16}) {
    const auto model = make_compute_model("unknown", training_at(224, precision), 16, set);
    const OperatorCurve expected = curve("forward", precision, 30);
    EXPECT_NEAR(total_ms(*model, 16), 1e3 * pass_seconds(expected, training().model, 16, 3), 1e-6)
        << name(precision);
  }
}

}  // namespace
}  // namespace vitsim
