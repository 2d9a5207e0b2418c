#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace vitsim {

/// Load of others on this machine while something of ours ran, in cores: 0.5 means that half a core
/// was busy for somebody else all the time.
struct ForeignLoad {
  double seconds = 0;
  double busy_cores = 0;    // other processes
  double stolen_cores = 0;  // by the hypervisor

  [[nodiscard]] double cores() const { return busy_cores + stolen_cores; }

  /// Whether a measurement that took place meanwhile says something about the machine alone.
  [[nodiscard]] bool disturbs(double most_cores) const { return cores() > most_cores; }
};

/// CPU time of a whole machine since it started, summed over its CPUs, in clock ticks of the
/// kernel.
struct MachineTicks {
  std::int64_t cpus = 0;
  std::int64_t not_busy = 0;  // idle, waiting for a disk, in interrupts, stolen
  std::int64_t stolen = 0;
};

/// Reads the text of a /proc/stat. Time in interrupts is nobody's: packets of our own links cause
/// it. Throws DeviceError where the text is not such a file's.
MachineTicks machine_ticks(const std::string& proc_stat);

/// User and system ticks of one process, and of its children that have ended and were waited for,
/// from the text of its /proc/PID/stat; the name in it may hold spaces and brackets. 0 where the
/// text is not such a file's: the process has ended.
std::int64_t process_ticks(const std::string& proc_pid_stat);

/// Reads /proc/stat and the own processes' use at both ends of a stretch of time.
///
/// Busy is what is not idle. The kernel clocks a CPU's idle time, but samples user and system time
/// at its ticks: a process under a CPU quota, which stops at a tick, would seem to run up to half
/// a tick longer in every period of the quota.
class LoadMeter {
 public:
  /// Starts a stretch of which this process, or `own_processes` of this machine, are no foreigners.
  /// Throws DeviceError where /proc/stat cannot be read.
  LoadMeter();
  explicit LoadMeter(std::vector<std::int64_t> own_processes);

  void restart();

  /// No load for less than a tenth of a second, in which a few ticks say nothing.
  [[nodiscard]] ForeignLoad since_start() const;

 private:
  struct Reading {
    std::chrono::steady_clock::time_point clock;
    MachineTicks machine;
    std::int64_t own = 0;
  };

  [[nodiscard]] Reading read() const;

  std::vector<std::int64_t> own_processes_;
  Reading start_;
};

}  // namespace vitsim
