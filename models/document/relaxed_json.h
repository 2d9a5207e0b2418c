#pragma once

#include <string>
#include <string_view>

namespace vitsim {

/// The strict JSON that a relaxed text means, line by line: comments (`//`, `#`, `/* */`) become
/// blanks, commas before a closing bracket are dropped, commas that a line's end stands for are put
/// in, keys without quotes and text in single quotes get double ones. This is what people write in
/// files that Hjson reads. What is no relaxed JSON either stays as it is, for the parser to name.
std::string strict_json(std::string_view relaxed);

}  // namespace vitsim
