#pragma once

#include <string>
#include <string_view>

#include "sim/assess/compare.h"
#include "sim/render/text_table.h"

namespace vitsim {

/// A share written as "5%" or "2.5 %". Throws UserError naming `option` for anything else, also for
/// a bare number.
double parse_share(std::string_view option, std::string_view text);

/// The comparison as a table for people; `a` and `b` head its columns. What is beyond `tolerance`
/// is marked.
std::string comparison_text(const Comparison& comparison,
                            std::string_view a,
                            std::string_view b,
                            double tolerance,
                            const TextStyle& style = {});

}  // namespace vitsim
