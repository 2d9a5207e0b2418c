#include "calibrate/measurement/load_meter.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

std::string content(const std::string& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

}  // namespace

MachineTicks machine_ticks(const std::string& proc_stat) {
  std::istringstream text(proc_stat);
  std::string word;
  std::int64_t user = 0;
  std::int64_t nice = 0;
  std::int64_t system = 0;
  std::int64_t idle = 0;
  std::int64_t disk = 0;
  std::int64_t interrupts = 0;
  std::int64_t soft_interrupts = 0;
  std::int64_t stolen = 0;
  text >> word >> user >> nice >> system >> idle >> disk >> interrupts >> soft_interrupts >> stolen;
  if (!text || word != "cpu") {
    throw DeviceError("/proc/stat cannot be read: other load would go unseen");
  }
  MachineTicks ticks{.not_busy = idle + disk + interrupts + soft_interrupts + stolen,
                     .stolen = stolen};
  std::string line;
  std::getline(text, line);  // the rest of the sum over all CPUs
  while (std::getline(text, line)) {
    ticks.cpus += line.starts_with("cpu") ? 1 : 0;
  }
  return ticks;
}

std::int64_t process_ticks(const std::string& proc_pid_stat) {
  const std::size_t name_end = proc_pid_stat.rfind(')');
  if (name_end == std::string::npos) {
    return 0;
  }
  std::istringstream fields(proc_pid_stat.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) {  // the times are fields 14 to 17
    fields >> skipped;
  }
  std::int64_t user = 0;
  std::int64_t system = 0;
  std::int64_t children_user = 0;
  std::int64_t children_system = 0;
  fields >> user >> system >> children_user >> children_system;
  return user + system + children_user + children_system;
}

LoadMeter::LoadMeter() : LoadMeter({getpid()}) {}

LoadMeter::LoadMeter(std::vector<std::int64_t> own_processes)
    : own_processes_(std::move(own_processes)), start_(read()) {}

void LoadMeter::restart() {
  start_ = read();
}

LoadMeter::Reading LoadMeter::read() const {
  Reading reading{.clock = std::chrono::steady_clock::now(),
                  .machine = machine_ticks(content("/proc/stat"))};
  for (const std::int64_t process : own_processes_) {
    reading.own += process_ticks(content(fmt::format("/proc/{}/stat", process)));
  }
  return reading;
}

ForeignLoad LoadMeter::since_start() const {
  const Reading now = read();
  ForeignLoad load{.seconds = std::chrono::duration<double>(now.clock - start_.clock).count()};
  if (load.seconds < 0.1) {
    return load;
  }
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK)) * load.seconds;
  const std::int64_t not_foreign =
      (now.machine.not_busy - start_.machine.not_busy) + (now.own - start_.own);
  const std::int64_t stolen = now.machine.stolen - start_.machine.stolen;
  load.busy_cores = std::max(
      0.0, static_cast<double>(now.machine.cpus) - static_cast<double>(not_foreign) / ticks);
  load.stolen_cores = std::max(0.0, static_cast<double>(stolen) / ticks);
  return load;
}

}  // namespace vitsim
