#include "calibrate/fit/rate_fit.h"

#include <cmath>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

GpuSheet sheet() {
  return {.name = "card",
          .architecture = "ampere",
          .memory = mebibytes(16384),
          .memory_bandwidth = BytesPerSecond(900e9),
          .fp32 = FlopsPerSecond(30e12),
          .tf32 = FlopsPerSecond(60e12),
          .fp16 = FlopsPerSecond(120e12),
          .bf16 = FlopsPerSecond(120e12)};
}

// A card that reaches seven tenths of its arithmetic and nine tenths of its bandwidth.
OperatorRates card(Precision precision) {
  return {.precision = precision,
          .gemm_forward = FlopsPerSecond(84e12),
          .gemm_backward = FlopsPerSecond(80e12),
          .gemm_inner = 90,
          .gemm_outputs = 3e5,
          .attention = FlopsPerSecond(50e12),
          .convolution = FlopsPerSecond(6e12),
          .memory = BytesPerSecond(860e9),
          .elements = 180e9,
          .kernel_start = microseconds(2),
          .error = {}};
}

const HostLaunch kHost{.forward = microseconds(40), .backward = microseconds(50), .sigma = {}};

double seconds_of(const PassObservation& pass, const OperatorRates& rates, const HostLaunch& host) {
  const Pass which = pass.what == Observed::kForward ? Pass::kForward : Pass::kBackward;
  return pass_time(
             rates, host, pass_operators(pass.model, pass.precision, which), which, pass.batch)
      .total()
      .value();
}

std::vector<PassObservation> passes(const std::vector<const char*>& models,
                                    const std::vector<std::int64_t>& batches,
                                    const OperatorRates& rates,
                                    const HostLaunch& host) {
  std::vector<PassObservation> all;
  for (const char* model : models) {
    for (const std::int64_t batch : batches) {
      for (const Observed what : {Observed::kForward, Observed::kBackward}) {
        PassObservation pass{.what = what,
                             .model = *vit_variant(model),
                             .precision = rates.precision,
                             .batch = batch};
        pass.seconds = seconds_of(pass, rates, host);
        all.push_back(pass);
      }
    }
  }
  return all;
}

// Passes that the model itself made: other models and batches come out within 3 %, launches within
// 3 %.
TEST(RateFit, FindsWhatACardIsMadeOf) {
  const OperatorRates truth = card(Precision::kFp16);
  const GpuSheet own = sheet();
  const FittedRates fitted =
      fit_passes(passes({"vit-s-16", "vit-b-16"}, {1, 8, 64, 128}, truth, kHost), &own);
  EXPECT_TRUE(fitted.shows_launches);
  EXPECT_NEAR(fitted.host.forward / kHost.forward, 1, 0.03);
  EXPECT_NEAR(fitted.host.backward / kHost.backward, 1, 0.03);
  for (const PassObservation& other :
       passes({"vit-ti-16", "vit-b-16", "vit-l-16"}, {2, 32, 256}, truth, kHost)) {
    EXPECT_NEAR(fitted.predict(other).seconds / other.seconds, 1, 0.03)
        << other.model.name << " " << other.batch;
  }
}

// A card that were twice as fast as its sheet: what is left over goes into the factors of whole
// passes, no rate leaves the sheet.
TEST(RateFit, NoRateIsAboveTheSheet) {
  OperatorRates fast = card(Precision::kFp16);
  fast.gemm_forward = FlopsPerSecond(240e12);
  fast.gemm_backward = FlopsPerSecond(240e12);
  fast.memory = BytesPerSecond(1800e9);
  const GpuSheet own = sheet();
  const FittedRates fitted = fit_passes(passes({"vit-b-16"}, {32, 64}, fast, kHost), &own);
  const OperatorRates& rates = *fitted.find(Precision::kFp16);
  EXPECT_LE(rates.gemm_forward.value(), 120e12 * (1 + 1e-9));
  EXPECT_LE(rates.gemm_backward.value(), 120e12 * (1 + 1e-9));
  EXPECT_LE(rates.attention.value(), 120e12 * (1 + 1e-9));
  EXPECT_LE(0.95 * rates.memory.value(), 900e9 * (1 + 1e-9));
}

// A card at a tenth of its sheet, as one that is short of memory: its own passes come out.
TEST(RateFit, ACardFarFromItsSheetIsFittedAllTheSame) {
  OperatorRates ill = card(Precision::kFp16);
  ill.gemm_forward = FlopsPerSecond(8e12);
  ill.gemm_backward = FlopsPerSecond(8e12);
  const GpuSheet own = sheet();
  const auto seen = passes({"vit-b-16"}, {8, 16}, ill, kHost);
  const FittedRates fitted = fit_passes(seen, &own);
  for (const PassObservation& pass : seen) {
    EXPECT_NEAR(fitted.predict(pass).seconds / pass.seconds, 1, 0.05) << pass.batch;
  }
}

// Launches that no pass shows stay as they are taken for, and are not the card's to tell.
TEST(RateFit, LaunchesThatNothingShowsAreNotTold) {
  const HostLaunch none{.forward = Seconds(1e-9), .backward = Seconds(1e-9), .sigma = {}};
  const GpuSheet own = sheet();
  const FittedRates fitted =
      fit_passes(passes({"vit-b-16"}, {64, 128}, card(Precision::kFp16), none), &own);
  EXPECT_FALSE(fitted.shows_launches);
}

// Without a data sheet the passes still come out, and a batch between them.
TEST(RateFit, ADeviceWithoutASheet) {
  const OperatorRates truth = card(Precision::kFp32);
  const FittedRates fitted =
      fit_passes(passes({"vit-ti-16", "vit-s-16"}, {4, 16}, truth, kHost), nullptr);
  for (const PassObservation& other : passes({"vit-ti-16", "vit-s-16"}, {8}, truth, kHost)) {
    EXPECT_NEAR(fitted.predict(other).seconds / other.seconds, 1, 0.05) << other.model.name;
  }
}

}  // namespace
}  // namespace vitsim
