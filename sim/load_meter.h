#pragma once

namespace vitsim {

/// Load of others on this machine while something of ours ran, in cores: 0.5 means that half a core
/// was busy for somebody else all the time.
struct ForeignLoad {
  double seconds = 0;
  double busy_cores = 0;    // other processes
  double stolen_cores = 0;  // by the hypervisor

  /// Whether a measurement that took place meanwhile says something about the machine alone.
  [[nodiscard]] bool disturbs(double most_cores) const {
    return busy_cores + stolen_cores > most_cores;
  }
};

/// Reads /proc/stat and this process's own use at both ends of a stretch of time. Child processes
/// count as own once they have ended and were waited for. Time in interrupts is nobody's: packets
/// of our own links cause it.
///
/// Busy is what is not idle. The kernel clocks a CPU's idle time, but samples user and system time
/// at its ticks: a process under a CPU quota, which stops at a tick, would seem to run up to half
/// a tick longer in every period of the quota.
class LoadMeter {
 public:
  /// Starts the stretch. Throws DeviceError where /proc/stat cannot be read.
  LoadMeter();

  [[nodiscard]] ForeignLoad since_start() const;

 private:
  struct Reading {
    double clock_s = 0;
    double cpus = 0;
    double not_busy_s = 0;  // idle, in interrupts, stolen; summed over CPUs
    double stolen_s = 0;
    double own_s = 0;  // this process and its dead children
  };

  static Reading read();

  Reading start_;
};

}  // namespace vitsim
