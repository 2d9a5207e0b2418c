#pragma once

#include <filesystem>

#include <nlohmann/json_fwd.hpp>

namespace vitsim {

/// What a run directory of a real training says, for its page: `report.json`, with the curves of
/// `epochs.csv` and the phases of `timeline.jsonl` where these are there. Neighbouring steps of a
/// long run are averaged. Throws UserError where the folder has no report, or a broken file.
nlohmann::json run_document(const std::filesystem::path& folder);

}  // namespace vitsim
