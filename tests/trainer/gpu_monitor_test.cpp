#include "trainer/gpu_monitor.h"

#include <chrono>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

constexpr const char* kGpu = "00000000:1B:00.0";

void wait_for_readings() {
  std::this_thread::sleep_for(std::chrono::milliseconds(550));
}

// fake_nvml.cpp beside this file: 100 W and 300 W in turn, so that 200 W lie between any two
// readings.
TEST(GpuMonitor, MeasuresPowerAndEnergy) {
  const auto begin = std::chrono::steady_clock::now();
  const auto monitor = GpuMonitor::start(kGpu, VITSIM_FAKE_NVML);
  ASSERT_NE(monitor, nullptr);
  wait_for_readings();
  const GpuPower power = monitor->power();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(power.peak_w, 300);
  EXPECT_NEAR(power.mean_w, 200, 1e-6);
  // At most 200 W all along; at least for two intervals, however busy the machine is.
  EXPECT_LE(power.energy_j, 200 * elapsed.count());
  EXPECT_GE(power.energy_j, 200 * 0.2 * 0.99);
  EXPECT_EQ(monitor->throttled_share(), 1);
  EXPECT_EQ(monitor->most_processes(), 2);
}

TEST(GpuMonitor, IsAbsentWithoutTheLibraryTheGpuOrItsSensor) {
  EXPECT_EQ(GpuMonitor::start(kGpu, "/no/such/libnvidia-ml.so.1"), nullptr);
  EXPECT_EQ(GpuMonitor::start("00000000:FF:00.0", VITSIM_FAKE_NVML), nullptr);
  EXPECT_EQ(GpuMonitor::start("00000000:2C:00.0", VITSIM_FAKE_NVML), nullptr);
  // A library of another kind has none of the functions.
  EXPECT_EQ(GpuMonitor::start(kGpu, "libm.so.6"), nullptr);
}

TEST(GpuMonitor, FindsTheDriversLibraryByItsName) {
  if (std::getenv("VITSIM_FAKE_NVML_IN_PATH") == nullptr) {
    GTEST_SKIP() << "started without the library's folder in LD_LIBRARY_PATH";
  }
  const auto monitor = GpuMonitor::start(kGpu);
  ASSERT_NE(monitor, nullptr);
  EXPECT_EQ(monitor->power().peak_w, 100);  // the first reading
}

}  // namespace
}  // namespace vitsim
