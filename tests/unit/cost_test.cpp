#include "models/report/cost.h"

#include <gtest/gtest.h>

namespace vitsim {
namespace {

// Two GPUs for 3 hours at 1.5 and one at 0.5: 10.5. Of the two the file gives 100 W, of the third
// the sheet rates 200 W: 2 x 100 + 0.76 x 200 = 352 W, in 3 hours 1.056 kWh, with half as much
// again for the building 1.584 kWh, at 400 g each 0.6336 kg. The spread belongs to 152 of the 352
// W.
TEST(Cost, IsHoursPricesAndPowerOfTheGpusThatAreHeld) {
  const PriceSpec prices{.per_gpu_hour = {{"a", 1.5}, {"b", 0.5}},
                         .currency = "EUR",
                         .power = {{"a", Watts(100)}},
                         .pue = 1.5,
                         .g_co2e_per_kwh = 400};
  const std::vector<HeldGpus> held = {{.gpu = "a", .count = 2, .rated_power = Watts(999)},
                                      {.gpu = "b", .count = 1, .rated_power = Watts(200)}};
  const auto cost = run_cost(held, prices, Seconds(3 * 3600));
  ASSERT_TRUE(cost);
  EXPECT_DOUBLE_EQ(cost->gpu_hours, 9);
  EXPECT_DOUBLE_EQ(*cost->price, 10.5);
  EXPECT_NEAR(*cost->energy_kwh, 1.584, 1e-12);
  EXPECT_NEAR(*cost->co2e_kg, 0.6336, 1e-12);
  EXPECT_NEAR(cost->energy_spread, 0.3 * 152 / 352, 1e-12);
  EXPECT_EQ(cost->currency, "EUR");
}

// A sensor knows better than the file and than the sheet: 300 W for two hours are 0.6 kWh, and
// nothing of it is estimated.
TEST(Cost, TakesWhatWasMeasured) {
  PriceSpec prices;
  prices.power["a"] = Watts(100);
  const std::vector<HeldGpus> held = {
      {.gpu = "a", .count = 1, .rated_power = Watts(700), .measured_power = Watts(300)}};
  const auto cost = run_cost(held, prices, Seconds(2 * 3600));
  ASSERT_TRUE(cost);
  EXPECT_NEAR(*cost->energy_kwh, 0.6, 1e-12);
  EXPECT_DOUBLE_EQ(cost->energy_spread, 0);
}

TEST(Cost, IsAbsentWhereNeitherPricesNorPowerAreKnown) {
  const std::vector<HeldGpus> held = {{.gpu = "cpu", .count = 1, .rated_power = std::nullopt}};
  EXPECT_FALSE(run_cost(held, {}, Seconds(60)));
  PriceSpec prices;
  prices.per_gpu_hour["cpu"] = 2;
  const auto cost = run_cost(held, prices, Seconds(1800));
  ASSERT_TRUE(cost);
  EXPECT_DOUBLE_EQ(*cost->price, 1);
  EXPECT_FALSE(cost->energy_kwh);
  EXPECT_FALSE(cost->co2e_kg);
}

// CodeCarbon's defaults: 475 g a kWh, and no overhead of the building.
TEST(Cost, CarbonIsTheWorldsMeanByDefault) {
  PriceSpec prices;
  prices.power["a"] = Watts(1000);
  const std::vector<HeldGpus> held = {{.gpu = "a", .count = 1, .rated_power = std::nullopt}};
  const auto cost = run_cost(held, prices, Seconds(3600));
  ASSERT_TRUE(cost);
  EXPECT_DOUBLE_EQ(*cost->energy_kwh, 1);
  EXPECT_DOUBLE_EQ(*cost->co2e_kg, 0.475);
  EXPECT_DOUBLE_EQ(cost->energy_spread, 0);
}

}  // namespace
}  // namespace vitsim
