#include "trainer/progress_line.h"

#include <cmath>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <unistd.h>

namespace vitsim {

namespace {

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressLine::ProgressLine(std::int64_t epochs, std::int64_t steps, bool terminal)
    : epochs_(epochs), steps_(steps), terminal_(terminal) {}

void ProgressLine::step(std::int64_t epoch, std::int64_t done, double loss, std::int64_t images) {
  const auto now = Clock::now();
  if (first_step_ < 0) {
    // The first step warms up; speed counts from its end.
    first_step_ = done;
    start_ = now;
  } else {
    images_ += images;
  }
  const std::chrono::milliseconds pause(terminal_ ? 100 : 10'000);
  if (now - last_ < pause && done != steps_) {
    return;
  }
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  std::string text =
      fmt::format("epoch {}/{}  step {}/{}  loss {:.4f}", epoch + 1, epochs_, done, steps_, loss);
  if (images_ > 0 && elapsed > 0) {
    const double left =
        elapsed / static_cast<double>(done - first_step_) * static_cast<double>(steps_ - done);
    text += fmt::format(
        "  {:.4g} images/s  {} left", static_cast<double>(images_) / elapsed, clock_text(left));
  }
  if (terminal_) {
    fmt::print("\r\033[K{}", text);
    line_open_ = true;
  } else {
    fmt::print("{}\n", text);
  }
  std::fflush(stdout);
}

void ProgressLine::note(const std::string& text) {
  fmt::print("{}{}\n", line_open_ ? "\r\033[K" : "", text);
  line_open_ = false;
  std::fflush(stdout);
}

bool output_is_terminal() {
  const char* told = std::getenv("VITSIM_TERMINAL");
  if (told != nullptr) {
    return told[0] == '1';
  }
  return std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr && isatty(STDOUT_FILENO) == 1;
}

}  // namespace vitsim
