#include "models/report/communication.h"

#include <algorithm>

namespace vitsim {

void add_rows(std::vector<CommunicationRow>& rows,
              const std::vector<CommunicationRow>& more,
              double share) {
  for (const CommunicationRow& row : more) {
    auto same = std::ranges::find_if(
        rows, [&](const CommunicationRow& other) { return row.is_like(other); });
    if (same == rows.end()) {
      rows.push_back({.collective = row.collective,
                      .phase = row.phase,
                      .group = row.group,
                      .algorithm = row.algorithm});
      same = rows.end() - 1;
    }
    same->calls += share * row.calls;
    same->bytes += share * row.bytes;
    same->busy_s += share * row.busy_s;
    same->exposed_s += share * row.exposed_s;
  }
}

}  // namespace vitsim
