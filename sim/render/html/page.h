#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace vitsim {

/// One page of HTML that shows what a command's JSON holds: a report, a scaling, a sweep, a plan, a
/// comparison, a validation, a collective's table or a calibration check, by its "schema".
///
/// The page is one file. It holds the data, Chart.js and its own scripts, and its content security
/// policy forbids every request. Of large clusters it holds equal neighbouring nodes once, and the
/// slowest of many ranks. Throws UserError, which names `origin`, where the JSON is of another kind
/// or version, or lacks what its kind of page is made of.
std::string html_page(const nlohmann::json& document, std::string_view origin);

/// The same for JSON text; mistakes of syntax are reported with file and line. Reports are read as
/// `compare` reads them, key by key.
std::string html_page_of_text(std::string_view text, const std::string& origin);

}  // namespace vitsim
