#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/import/piece.h"

namespace vitsim {

/// One timed size of a table of collectives.
struct ImportedRow {
  std::int64_t line = 0;  // of the file, 0 where lines mean nothing
  std::int64_t bytes = 0;
  std::optional<std::int64_t> elements;  // the table's "count"
  std::string type;                      // "float", "half", ...
  std::string operation;                 // "sum", "none", ...; empty: not said
  std::optional<std::int64_t> root;      // -1 where the collective has none
  bool in_place = false;
  double seconds = 0;
  double algorithm_gb_per_s = 0;  // 0: not said
  double bus_gb_per_s = 0;
  bool wrong = false;  // the result was checked and is not right
};

/// A rank as the table lists it.
struct CollectiveRank {
  std::int64_t rank = 0;
  std::string host;
  std::string device;  // as the driver calls it
};

/// One start of a benchmark: its ranks and its rows.
struct CollectiveRun {
  std::int64_t line = 0;
  std::optional<MeasuredCollective> collective;  // where the file names it
  std::optional<std::int64_t> stated_ranks;      // where it states their number
  std::vector<CollectiveRank> ranks;
  std::vector<ImportedRow> rows;
};

/// The collective that a benchmark's name means: "all_reduce_perf", "all_reduce_perf_mpi",
/// "AllReduce", "reduce-scatter", "sendrecv" ... None for other words.
std::optional<MeasuredCollective> collective_from_name(std::string_view name);

/// Series of every run, one per size and place: of no recorded run. What a run times is known by
/// its name, else by count x size of the type, which is the size for an AllReduce and a rank's
/// share of it for a reduce-scatter or all-gather. `name` is the file's; `ranks` is the user's word
/// where the file lists none. Throws UserError where a bandwidth contradicts the collective, and
/// where no run has two ranks: one rank has no link.
Piece collective_piece(std::vector<CollectiveRun> runs,
                       const std::string& origin,
                       const std::string& name,
                       const std::string& backend,
                       std::optional<std::int64_t> ranks);

}  // namespace vitsim
