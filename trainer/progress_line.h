#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vitsim {

/// Tells how far a run is: one line that is rewritten on a terminal, a line now and then elsewhere.
class ProgressLine {
 public:
  /// `steps` updates are to be made in all.
  ProgressLine(std::int64_t epochs, std::int64_t steps, bool terminal);

  /// After a step; `done` updates in all, `loss` is rank 0's estimate of the joined batch's.
  void step(std::int64_t epoch, std::int64_t done, double loss, std::int64_t images);

  /// A line that stays, e.g. an epoch's result.
  void note(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  std::int64_t epochs_;
  std::int64_t steps_;
  bool terminal_;
  bool line_open_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
  std::int64_t first_step_ = -1;
  std::int64_t images_ = 0;
};

/// True where rank 0's output reaches a person: mpirun gives every rank a terminal of its own, so
/// under it only what started it can know.
bool output_is_terminal();

}  // namespace vitsim
