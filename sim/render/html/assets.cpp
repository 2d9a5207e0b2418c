#include "sim/render/html/assets.h"

// Where the assembler put the files.
// NOLINTBEGIN(readability-identifier-naming): symbols of an object file.
extern "C" {
extern const char vitsim_page_style_begin[];
extern const char vitsim_page_style_end[];
extern const char vitsim_page_scripts_begin[];
extern const char vitsim_page_scripts_end[];
extern const char vitsim_chart_js_begin[];
extern const char vitsim_chart_js_end[];
}

// NOLINTEND(readability-identifier-naming)

namespace vitsim {

std::string_view page_style() {
  return {vitsim_page_style_begin, vitsim_page_style_end};
}

std::string_view page_scripts() {
  return {vitsim_page_scripts_begin, vitsim_page_scripts_end};
}

std::string_view chart_js() {
  return {vitsim_chart_js_begin, vitsim_chart_js_end};
}

}  // namespace vitsim
