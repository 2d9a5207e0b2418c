#include "trainer/measure/host_load.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

namespace vitsim {

namespace {

std::string content(const std::string& file) {
  std::ifstream stream(file);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

}  // namespace

std::int64_t busy_ticks(const std::string& proc_stat) {
  std::istringstream line(proc_stat);
  std::string word;
  line >> word;
  if (word != "cpu") {
    return 0;
  }
  std::int64_t user = 0;
  std::int64_t nice = 0;
  std::int64_t system = 0;
  std::int64_t idle = 0;
  std::int64_t disk = 0;
  std::int64_t interrupt = 0;
  std::int64_t soft_interrupt = 0;
  std::int64_t stolen = 0;
  line >> user >> nice >> system >> idle >> disk >> interrupt >> soft_interrupt >> stolen;
  return user + nice + system + interrupt + soft_interrupt + stolen;
}

std::int64_t process_ticks(const std::string& proc_pid_stat) {
  const std::size_t name_end = proc_pid_stat.rfind(')');
  if (name_end == std::string::npos) {
    return 0;
  }
  std::istringstream fields(proc_pid_stat.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 14; ++field) {  // utime and stime are fields 14 and 15
    fields >> skipped;
  }
  std::int64_t user = 0;
  std::int64_t system = 0;
  fields >> user >> system;
  return user + system;
}

HostLoad::HostLoad(std::vector<std::int64_t> own_processes) : processes_(std::move(own_processes)) {
  begin();
}

void HostLoad::begin() {
  at_begin_ = now();
  begin_ = std::chrono::steady_clock::now();
}

double HostLoad::foreign_cpus() const {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  if (seconds < 0.1) {
    return 0;
  }
  const CpuTimes end = now();
  const auto foreign = static_cast<double>((end.machine_busy - at_begin_.machine_busy) -
                                           (end.ours - at_begin_.ours));
  return std::max(0.0, foreign / static_cast<double>(sysconf(_SC_CLK_TCK)) / seconds);
}

CpuTimes HostLoad::now() const {
  CpuTimes times{.machine_busy = busy_ticks(content("/proc/stat"))};
  for (const std::int64_t process : processes_) {
    times.ours += process_ticks(content(fmt::format("/proc/{}/stat", process)));
  }
  return times;
}

}  // namespace vitsim
