#include "sim/cli/progress_meter.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "models/document/quantity_text.h"

namespace vitsim {

namespace {

constexpr std::chrono::seconds kQuiet(2);
constexpr std::chrono::milliseconds kPause(250);

}  // namespace

ProgressMeter::ProgressMeter(std::string what)
    : what_(std::move(what)), is_terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressMeter::~ProgressMeter() {
  if (is_shown_) {
    std::fputs("\r\x1b[K", stderr);
  }
}

std::string ProgressMeter::line(const std::string& what,
                                std::size_t done,
                                std::size_t all,
                                double seconds) {
  std::string text = fmt::format("{}: {} of {}", what, done, all);
  if (done > 0 && done < all) {
    const double left = seconds / static_cast<double>(done) * static_cast<double>(all - done);
    text += fmt::format(", {} left", left < 1 ? "less than 1 s" : human(Seconds(left)));
  }
  return text;
}

void ProgressMeter::show(std::size_t done, std::size_t all) {
  if (!is_terminal_) {
    return;
  }
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (now - start_ < kQuiet || now - last_ < kPause) {
    return;
  }
  last_ = now;
  is_shown_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  std::fputs(("\r\x1b[K" + line(what_, done, all, seconds)).c_str(), stderr);
}

Progress ProgressMeter::progress() {
  return [this](std::size_t done, std::size_t all) { show(done, all); };
}

}  // namespace vitsim
