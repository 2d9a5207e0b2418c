#pragma once

#include <string>
#include <vector>

namespace vitsim {

/// Collectives of one kind, phase and group, per step and rank.
struct CommunicationRow {
  std::string collective;  // e.g. "all-gather"; "send", "receive"; "copy" between host and device
  std::string phase;       // e.g. "parameter_all_gather"
  std::string group;       // e.g. "data"
  double calls = 0;
  double bytes = 0;       // summed over calls, as nccl-tests counts a collective's size
  double busy_s = 0;      // as if everybody joined at once
  double exposed_s = 0;   // that no compute hides
  std::string algorithm;  // of the largest call, and who chose it; may be empty

  bool operator==(const CommunicationRow&) const = default;

  [[nodiscard]] bool is_like(const CommunicationRow& other) const {
    return collective == other.collective && phase == other.phase && group == other.group;
  }
};

/// Adds `share` of the rows to those of the same kind.
void add_rows(std::vector<CommunicationRow>& rows,
              const std::vector<CommunicationRow>& more,
              double share);

}  // namespace vitsim
