#pragma once

#include <cstddef>
#include <functional>

namespace vitsim {

/// Told how many of so many parts of a long computation are done; may be empty. May be called from
/// several threads at once.
using Progress = std::function<void(std::size_t done, std::size_t all)>;

}  // namespace vitsim
