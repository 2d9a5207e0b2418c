#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace vitsim {

/// CPU time so far, in clock ticks of the kernel.
struct CpuTimes {
  std::int64_t machine_busy = 0;  // of all processes, and stolen by other virtual machines
  std::int64_t ours = 0;          // of this job's processes
};

/// Which part of a /proc/stat counts as busy: everything but idle and waiting for a disk. Guest
/// time is within user time already. 0 where the text is not such a file's.
std::int64_t busy_ticks(const std::string& proc_stat);

/// User and system ticks of one process from its /proc/PID/stat; the name in it may hold spaces and
/// brackets. 0 where the text is not such a file's.
std::int64_t process_ticks(const std::string& proc_pid_stat);

/// Sees whether others use this machine's CPUs while this job is measured.
class HostLoad {
 public:
  /// `own_processes`: of this job, on this machine.
  explicit HostLoad(std::vector<std::int64_t> own_processes);

  void begin();

  /// CPUs that others used on average since `begin`, e.g. 0.3; 0 for less than a tenth of a second,
  /// which says nothing.
  [[nodiscard]] double foreign_cpus() const;

 private:
  [[nodiscard]] CpuTimes now() const;

  std::vector<std::int64_t> processes_;
  CpuTimes at_begin_;
  std::chrono::steady_clock::time_point begin_;
};

/// More than this, and what was measured counts as disturbed.
inline constexpr double kDisturbingCpus = 0.1;

}  // namespace vitsim
