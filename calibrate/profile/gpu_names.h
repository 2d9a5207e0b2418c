#pragma once

#include <span>
#include <string>
#include <string_view>

namespace vitsim {

/// What to say after `unknown GPU "..."`. A slip of the keyboard gets ` (did you mean ...?)`. A
/// name that differs in its number or in a word such as "ti" stands for other hardware, which is
/// never offered: the message lists the known GPUs of its family and tells how to add a data sheet.
std::string unknown_gpu_hint(std::string_view word, std::span<const std::string> known);

}  // namespace vitsim
