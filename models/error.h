#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace vitsim {

/// The user's mistake: exit 2. Carries every problem found, one message each.
class UserError : public std::runtime_error {
 public:
  explicit UserError(std::vector<std::string> problems);

  explicit UserError(const std::string& problem) : UserError(std::vector{problem}) {}

  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::vector<std::string> problems_;
};

/// A device, MPI, NCCL or the operating system failed: exit 3.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Our own mistake: exit 70. Thrown by VITSIM_CHECK.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws InternalError with place, condition and both values.
[[noreturn]] void fail_check(const char* file, int line, const char* condition, double a, double b);

/// VITSIM_CHECK(a, <=, b): an invariant of the program, not of its input.
#define VITSIM_CHECK(a, relation, b)                \
  do {                                              \
    if (!((a)relation(b))) {                        \
      ::vitsim::fail_check(__FILE__,                \
                           __LINE__,                \
                           #a " " #relation " " #b, \
                           static_cast<double>(a),  \
                           static_cast<double>(b)); \
    }                                               \
  } while (false)

}  // namespace vitsim
