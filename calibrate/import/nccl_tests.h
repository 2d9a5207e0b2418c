#pragma once

#include <cstdint>
#include <istream>
#include <optional>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// The tables of nccl-tests and rccl-tests, of any collective, and those of `vitsim collective`:
/// series by size and place, of no recorded run. A file may hold several starts, launchers' marks,
/// time stamps (`-S`) and what else shares the stream. Ranks are those it lists; `ranks` stands for
/// them where it lists none. Throws UserError if no row is whole, if a run has one rank only, and
/// where a table's bandwidths contradict its collective.
Piece read_nccl_tests(std::istream& stream,
                      const std::string& origin,
                      const std::string& name,
                      std::optional<std::int64_t> ranks = std::nullopt);

/// The same from JSON: nccl-tests' `-J`, rccl-tests' `-Z json` (one object a line), `vitsim
/// collective --json`.
Piece read_nccl_json(std::istream& stream,
                     const std::string& origin,
                     const std::string& name,
                     std::optional<std::int64_t> ranks = std::nullopt);

/// The same from rccl-tests' `-Z csv`.
Piece read_nccl_csv(std::istream& stream,
                    const std::string& origin,
                    const std::string& name,
                    std::optional<std::int64_t> ranks = std::nullopt);

}  // namespace vitsim
