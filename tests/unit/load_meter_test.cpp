#include "calibrate/measurement/load_meter.h"

#include <ctime>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {
namespace {

// Keeps one core busy for `seconds`.
void burn(double seconds) {
  const auto begin = std::clock();
  while (static_cast<double>(std::clock() - begin) < seconds * CLOCKS_PER_SEC) {
  }
}

TEST(LoadMeter, IdleDiskInterruptsAndStolenAreNotBusy) {
  // user 10, nice 20, system 30; idle 40 + disk 50 + interrupts 60 + 70 + stolen 80 = 300. Guest
  // time (90, 100) is user time.
  const MachineTicks ticks = machine_ticks(
      "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9\ncpu1 9 9 9 9 9 9 9 9 9 9\n"
      "intr 5\n");
  EXPECT_EQ(ticks.cpus, 2);
  EXPECT_EQ(ticks.not_busy, 300);
  EXPECT_EQ(ticks.stolen, 80);
  EXPECT_THROW(machine_ticks("intr 5\n"), DeviceError);
  EXPECT_THROW(machine_ticks("cpu 10 20"), DeviceError);
  EXPECT_THROW(machine_ticks(""), DeviceError);
}

TEST(LoadMeter, ProcessTimesStandBehindANameOfAnyLetters) {
  // Fields 14 to 17: 700 and 11 of its own, 40 and 5 of its children.
  EXPECT_EQ(process_ticks("42 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 700 11 40 5 20"), 756);
  EXPECT_EQ(process_ticks("no such file"), 0);
}

TEST(LoadMeter, OwnWorkIsNotForeign) {
  const LoadMeter meter;
  const LoadMeter without_us(std::vector<std::int64_t>{});
  burn(0.3);
  const ForeignLoad load = meter.since_start();
  const ForeignLoad with_ours = without_us.since_start();
  EXPECT_GE(load.seconds, 0.29);
  // Own work is 0.3 s; ticks are hundredths of a second, whatever else runs counts in both.
  EXPECT_NEAR((with_ours.busy_cores - load.busy_cores) * load.seconds, 0.3, 0.06);
  // Others may compute meanwhile, on what its own 0.3 s of work leave of all cores at most.
  const auto cores = static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  EXPECT_LT(load.busy_cores, cores - 0.3 / load.seconds + 0.1);
}

TEST(LoadMeter, AChildIsOursOnceItWasWaitedFor) {
  const LoadMeter meter;
  const LoadMeter without_us(std::vector<std::int64_t>{});
  const pid_t child = fork();
  if (child == 0) {
    burn(0.3);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  const ForeignLoad load = meter.since_start();
  EXPECT_NEAR((without_us.since_start().busy_cores - load.busy_cores) * load.seconds, 0.3, 0.06);
}

TEST(LoadMeter, StartsAnew) {
  LoadMeter meter;
  burn(0.15);
  meter.restart();
  EXPECT_LT(meter.since_start().seconds, 0.1);
  EXPECT_EQ(meter.since_start().cores(), 0);  // too short to say anything
}

TEST(ForeignLoad, DisturbsByWhatProcessesAndTheHypervisorTakeTogether) {
  EXPECT_TRUE((ForeignLoad{.busy_cores = 0.08, .stolen_cores = 0.05}).disturbs(0.1));
  EXPECT_FALSE((ForeignLoad{.busy_cores = 0.04, .stolen_cores = 0.05}).disturbs(0.1));
}

}  // namespace
}  // namespace vitsim
