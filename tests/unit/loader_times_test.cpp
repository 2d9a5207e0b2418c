#include "calibrate/profile/loader_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/fit/loader_fit.h"

namespace vitsim {
namespace {

using ::testing::DoubleNear;

LoaderTimes photos(double cores = 8) {
  return {.dataset = "image-folder",
          .image_size = 224,
          .channels = 3,
          .cores = cores,
          .points = {{.workers = 1, .per_image = Seconds(4e-3)},
                     {.workers = 2, .per_image = Seconds(2e-3)},
                     {.workers = 4, .per_image = Seconds(1.25e-3)}}};
}

TEST(LoaderTimes, WorkersShareTheImages) {
  const LoaderTimes times = photos();
  EXPECT_DOUBLE_EQ(times.per_image(2).value(), 2e-3);
  // 3 workers lie between 500 and 800 images a second.
  EXPECT_NEAR(times.per_image(3).value(), 1.0 / 650, 1e-12);
  // Beyond the measured each adds its share, up to the 8 cores: half of 1.25 ms.
  EXPECT_NEAR(times.per_image(8).value(), 0.625e-3, 1e-12);
  EXPECT_NEAR(times.per_image(64).value(), 0.625e-3, 1e-12);
}

TEST(LoaderTimes, OnACpuBothWorkOnTheSameCores) {
  LoaderTimes times = photos(2);
  // A GPU computes elsewhere: 100 images by one worker take 0.4 s.
  EXPECT_NEAR(times.step_limit(1, 100, Seconds(0.3)).value(), 0.4, 1e-12);
  times.compute_threads = 2;
  // 0.4 s of loading and 2 x 0.3 s of computing on two cores: 0.5 s, whatever the workers.
  EXPECT_NEAR(times.step_limit(1, 100, Seconds(0.3)).value(), 0.5, 1e-12);
  EXPECT_NEAR(times.step_limit(4, 100, Seconds(0.3)).value(), 0.5, 1e-12);
}

TEST(LoaderTimes, AnotherSizeDecodesTheSameAndTransformsByPixel) {
  // 1 ms of decoding, and 3 ms of transforms at 224 px: 0.75 ms at 112, a quarter of the pixels.
  LoaderTimes half = photos();
  half.image_size = 112;
  for (LoaderPoint& point : half.points) {
    point.per_image = point.per_image * (1.75 / 4.0);
  }
  TrainingSpec training;
  training.dataset.name = "image-folder";
  training.model.image_size = 448;
  const auto large = loader_for({photos(), half}, training);
  ASSERT_TRUE(large);
  EXPECT_THAT(large->per_image(1).value(), DoubleNear(1e-3 + 4 * 3e-3, 1e-9));
  training.dataset.name = "cifar10";
  EXPECT_FALSE(loader_for({photos(), half}, training));
}

TEST(LoaderTimes, AreFittedFromMeasuredImages) {
  Measurement measurement;
  for (const std::int64_t workers : {1, 2}) {
    measurement.samples.push_back(
        {.series = LoaderSeries{.gpu = "lab-cpu",
                                .dataset = "image-folder",
                                .workers = workers,
                                .cores = 2,
                                .compute_threads = 2,
                                .seconds = {4e-3 / static_cast<double>(workers)}}});
  }
  Calibration calibration;
  GpuProfile& profile = calibration.gpus["lab-cpu"];
  // 10 images wait for 2 workers: 20 ms of loading beside 6 ms of computing on the same two cores
  // make 26 ms of work on each, 20 ms of them waiting, of which the measurement holds 21.
  profile.steps = {{.points = {{.micro_batch = 10,
                                .data_load = Seconds(21e-3),
                                .forward = Seconds(2e-3),
                                .backward = Seconds(4e-3)}}}};
  fit_loaders(measurement, calibration);
  ASSERT_EQ(profile.loaders.size(), 1U);
  EXPECT_DOUBLE_EQ(profile.loaders[0].per_image(1).value(), 4e-3);
  EXPECT_NEAR(profile.steps[0].points[0].data_load.value(), 1e-3, 1e-9);
}

// One thread computes beside two that load, on two cores: 24 ms of step are 48 ms of work, 40 of
// them the loader's. So computing is 8 ms, which the loader stretched to 12; and then 24 ms is what
// both take together.
TEST(LoaderTimes, PassesAreFreedOfTheLoadersWork) {
  Measurement measurement;
  RecordedRun run{.name = "alone", .gpus = {"lab-cpu"}, .micro_batch = {10}};
  measurement.runs = {run};
  measurement.samples = {{.series = LoaderSeries{.gpu = "lab-cpu",
                                                 .dataset = "image-folder",
                                                 .workers = 1,
                                                 .cores = 2,
                                                 .compute_threads = 1,
                                                 .seconds = {4e-3}}},
                         {.series = StepSeries{.seconds = {24e-3}}, .run = "alone"}};
  Calibration calibration;
  GpuProfile& profile = calibration.gpus["lab-cpu"];
  profile.steps = {
      {.model = run.model,
       .precision = run.precision,
       .points = {{.micro_batch = 10, .forward = Seconds(4e-3), .backward = Seconds(8e-3)}}}};
  fit_loaders(measurement, calibration);
  const StepPoint& point = profile.steps[0].points[0];
  EXPECT_NEAR(point.forward.value(), 4e-3 * 8 / 12, 1e-9);
  EXPECT_NEAR(point.backward.value(), 8e-3 * 8 / 12, 1e-9);
  EXPECT_NEAR(profile.loaders[0].step_limit(2, 10, Seconds(8e-3)).value(), 24e-3, 1e-9);
}

}  // namespace
}  // namespace vitsim
