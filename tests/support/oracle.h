#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace vitsim::testing {

/// Computes every case of an oracle file. A case is one of
///  - `network` (`star`; `switches`, `links`, `hosts`; or bare `links`) with `rings[]` and
///  `flows[]`,
///    all running at once,
///  - `ranks` and `compute`: 50 iterations of compute and the ring AllReduce of 346,270,624 B at
///    1.25 GB/s and 50 us per link, compute of 0.2 s + 0.02 s x ((7 rank [+ 5 iteration]) mod 11),
///  - `ranks` alone: the overlapped step of 14 buckets.
/// Returns `{"cases": [{name, ring_end_ps, flow_end_ps, end_ps, ..., agrees}]}`; `agrees` is there
/// where the case expects something. Throws UserError naming the case and the key.
nlohmann::json compute_oracle(const nlohmann::json& file);

/// Reads and parses `path`; throws UserError naming it.
nlohmann::json read_oracle(const std::string& path);

}  // namespace vitsim::testing
