#include "models/error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vitsim {

UserError::UserError(std::vector<std::string> problems)
    : std::runtime_error(fmt::format("{}", fmt::join(problems, "\n"))),
      problems_(std::move(problems)) {}

void fail_check(const char* file, int line, const char* condition, double a, double b) {
  throw InternalError(fmt::format("{}:{}: {} fails: {} against {}", file, line, condition, a, b));
}

}  // namespace vitsim
