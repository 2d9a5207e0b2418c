#include "sim/load_meter.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

double cpu_seconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

LoadMeter::LoadMeter() : start_(read()) {}

LoadMeter::Reading LoadMeter::read() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0;
  double nice = 0;
  double system = 0;
  double idle = 0;
  double wait = 0;
  double interrupts = 0;
  double soft_interrupts = 0;
  double stolen = 0;
  if (!(file >> name >> user >> nice >> system >> idle >> wait >> interrupts >> soft_interrupts >>
        stolen)) {
    throw DeviceError("/proc/stat cannot be read: other load would go unseen");
  }
  double cpus = 0;
  std::string line;
  while (std::getline(file, line)) {
    cpus += line.starts_with("cpu") ? 1 : 0;
  }
  const auto tick_s = 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK));
  return {
      .clock_s = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
                     .count(),
      .cpus = cpus,
      .not_busy_s = (idle + wait + interrupts + soft_interrupts + stolen) * tick_s,
      .stolen_s = stolen * tick_s,
      .own_s = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN)};
}

ForeignLoad LoadMeter::since_start() const {
  const Reading now = read();
  const double seconds = std::max(now.clock_s - start_.clock_s, 1e-9);
  const double busy = now.cpus * seconds - (now.not_busy_s - start_.not_busy_s);
  const double foreign = busy - (now.own_s - start_.own_s);
  return {.seconds = seconds,
          .busy_cores = std::max(0.0, foreign / seconds),
          .stolen_cores = std::max(0.0, (now.stolen_s - start_.stolen_s) / seconds)};
}

}  // namespace vitsim
