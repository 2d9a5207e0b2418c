#pragma once

#include <istream>
#include <string>
#include <string_view>

#include "calibrate/import/piece.h"

namespace vitsim {

/// Whether a line is the heading of `nvidia-smi topo -m`.
bool marks_topology(std::string_view line);

/// Reads the table that `nvidia-smi topo -m` prints and tells which data sheet of `configs/links/`
/// the path between a node's GPUs has, as the value that a cluster file's `intra_node` takes. The
/// table knows no speeds: generations that it leaves open are named. Gives no samples, but a line
/// of the environment under "links of NAME". Throws UserError if no two GPUs are in it.
Piece read_topology(std::istream& stream, const std::string& origin, const std::string& name);

}  // namespace vitsim
