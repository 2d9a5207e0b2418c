#pragma once

#include <string>

#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim::test {

/// `text` with its first `from` replaced; the test fails where there is none.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// What `call` is refused with as the user's mistake; "accepted" where it is none.
template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

/// Gives every beginning of `text` but the whole to `read`, which may refuse it as
/// the user's mistake.
template <typename Read>
void read_every_beginning(const std::string& text, Read read) {
  for (std::size_t length = 0; length < text.size(); ++length) {
    SCOPED_TRACE("cut after " + std::to_string(length) + " bytes");
    try {
      read(text.substr(0, length));
    } catch (const UserError&) {
    }
    if (::testing::Test::HasFatalFailure()) {
      return;
    }
  }
}

}  // namespace vitsim::test
