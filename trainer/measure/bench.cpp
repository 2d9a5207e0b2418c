#include "trainer/measure/bench.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

#include "trainer/failure.h"
#include "trainer/progress_line.h"

namespace vitsim {

namespace {

// More than this of others, and what was measured counts as disturbed.
constexpr double kDisturbingCores = 0.1;

}  // namespace

Bench::Bench(const MpiSession& session,
             Communication& communication,
             Device& device,
             PhaseBoard& board,
             Seconds budget,
             std::vector<std::string> names,
             std::filesystem::path out)
    : session_(session),
      communication_(communication),
      device_(device),
      board_(board),
      budget_(budget),
      names_(std::move(names)),
      load_(processes_of_this_machine(communication)),
      out_(std::move(out)) {}

const std::string& Bench::name() const {
  return names_[static_cast<std::size_t>(session_.rank())];
}

bool Bench::agree(bool word) {
  if (session_.size() == 1) {
    return word;
  }
  double value = session_.rank() == 0 && word ? 1 : 0;
  communication_.sum({&value, 1});
  return value > 0;
}

double Bench::largest(double value) {
  if (session_.size() == 1) {
    return value;
  }
  const std::vector<std::int64_t> mine = {static_cast<std::int64_t>(value * 1e9)};
  std::int64_t most = mine.front();
  for (const auto& one : communication_.gather(mine)) {
    most = std::max(most, one.front());
  }
  return static_cast<double>(most) * 1e-9;
}

bool Bench::fits(const std::function<void()>& work) {
  bool enough = true;
  try {
    work();
  } catch (...) {
    if (!memory_ran_out()) {
      throw;
    }
    enough = false;
  }
  return largest(enough ? 0 : 1) == 0;
}

bool Bench::end_timing(std::size_t first_sample) {
  const bool disturbed = largest(load_.since_start().cores()) > kDisturbingCores;
  for (std::size_t i = first_sample; i < measured.samples.size(); ++i) {
    measured.samples[i].disturbed = measured.samples[i].disturbed || disturbed;
  }
  return disturbed;
}

void Bench::progress(const std::string& what) const {
  if (session_.rank() != 0) {
    return;
  }
  const std::string line =
      fmt::format("{:.0f} s of {:.0f} s: {}", budget_.elapsed_s(), budget_.total().value(), what);
  if (output_is_terminal()) {
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
}

void Bench::could_not(const std::string& what) {
  if (session_.rank() == 0 && std::ranges::count(measured.warnings, what) == 0) {
    measured.warnings.push_back(what);
  }
}

void Bench::keep() {
  const std::vector<std::string> texts = communication_.gather_text(to_text(measured));
  if (session_.rank() != 0) {
    return;
  }
  Measurement all = measured;
  for (std::size_t rank = 1; rank < texts.size(); ++rank) {
    Measurement other = measurement_from_text(texts[rank], fmt::format("rank {}", rank));
    std::ranges::move(other.runs, std::back_inserter(all.runs));
    std::ranges::move(other.samples, std::back_inserter(all.samples));
  }
  write_measurement(out_, all);
}

std::vector<std::int64_t> processes_of_this_machine(Communication& communication) {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  const auto machine = static_cast<std::int64_t>(std::hash<std::string>()(boot));
  const std::vector<std::int64_t> mine = {machine, getpid()};
  std::vector<std::int64_t> processes;
  for (const auto& rank : communication.gather(mine)) {
    if (rank[0] == machine) {
      processes.push_back(rank[1]);
    }
  }
  return processes;
}

}  // namespace vitsim
