#pragma once

#include <string_view>

namespace vitsim {

// Files of this folder and Chart.js, embedded when the program is built; see assets.cmake.
std::string_view page_style();
std::string_view page_scripts();
std::string_view chart_js();

}  // namespace vitsim
