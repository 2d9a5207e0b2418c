#include "sim/collective/table.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

std::vector<CollectiveRow> collective_table(const Communicator& group,
                                            CollectiveKind kind,
                                            AllReduceAlgorithm algorithm,
                                            std::int64_t first,
                                            std::int64_t last,
                                            Tick overhead) {
  if (first < 0 || last < first || (first == 0 && last != 0)) {
    throw UserError(fmt::format("sizes from {} B to {} B do not make a range", first, last));
  }
  const auto n = static_cast<double>(group.size());
  const double bus_factor = kind == CollectiveKind::kAllReduce ? 2 * (n - 1) / n
                            : is_chain(kind)                   ? 1
                                                               : (n - 1) / n;
  const std::vector<Tick> together(group.size(), 0);
  std::vector<CollectiveRow> rows;
  for (std::int64_t bytes = first;;) {
    CollectiveRow row{.bytes = bytes};
    row.algorithm = group.resolve(algorithm, kind, bytes);
    const std::vector<Tick> ends = group.run(kind, row.algorithm, bytes, together);
    const Tick end = *std::max_element(ends.begin(), ends.end());
    if (end > 0) {
      row.time = to_seconds(end + overhead);
      row.algbw = Bytes(static_cast<double>(bytes)) / row.time;
      row.busbw = row.algbw * bus_factor;
    }
    rows.push_back(row);
    if (bytes == 0 || bytes > last / 2) {
      return rows;
    }
    bytes *= 2;
  }
}

}  // namespace vitsim
