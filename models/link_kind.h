#pragma once

#include <array>
#include <string_view>

namespace vitsim {

/// What a link is to a library of collectives, which knows other costs for each.
enum class LinkKind { kNvlink, kPcie, kNetwork };
inline constexpr std::array<std::string_view, 3> kLinkKindNames = {"nvlink", "pcie", "network"};

}  // namespace vitsim
