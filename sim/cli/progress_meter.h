#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "models/progress.h"

namespace vitsim {

/// A line at the bottom of the terminal for what takes longer than two seconds: "checking runs: 7
/// of 24, 12 s left". Written to standard error where that is a terminal, else nowhere; erased at
/// the end.
class ProgressMeter {
 public:
  explicit ProgressMeter(std::string what);
  ~ProgressMeter();
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;

  /// What a computation is given to tell its progress; must not outlive the meter.
  [[nodiscard]] Progress progress();

  /// The line after so many seconds.
  static std::string line(const std::string& what,
                          std::size_t done,
                          std::size_t all,
                          double seconds);

 private:
  using Clock = std::chrono::steady_clock;

  void show(std::size_t done, std::size_t all);

  std::string what_;
  bool is_terminal_;
  bool is_shown_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_{};
  std::mutex mutex_;
};

}  // namespace vitsim
