#include "sim/step/communication_rows.h"

#include <algorithm>

#include "sim/collective/choice_text.h"

namespace vitsim {

CommunicationRows::CommunicationRows(const StepProgram& program) : program_(program) {}

std::optional<CommunicationRows::Key> CommunicationRows::key_of(const Operation& operation) const {
  if (const Collective* collective = operation.collective()) {
    return Key(name(collective->kind), operation.phase, program_.axes[collective->axis].name);
  }
  if (const Transfer* transfer = operation.transfer()) {
    const bool sends = transfer->direction == Transfer::Direction::kSend;
    return Key(sends ? "send" : "receive", operation.phase, program_.axes[transfer->axis].name);
  }
  if (operation.stream == Stream::kCopy) {
    return Key("copy", operation.phase, "host");
  }
  return std::nullopt;
}

void CommunicationRows::add(std::uint32_t of_class,
                            double share,
                            std::span<const double> busy_s,
                            std::span<const double> exposed_s) {
  const std::vector<Operation>& operations = program_.classes[of_class].operations;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const auto key = key_of(operations[i]);
    if (!key) {
      continue;
    }
    Sum& sum = sums_[*key];
    double bytes = 0;
    if (const Collective* collective = operations[i].collective()) {
      bytes = static_cast<double>(collective->bytes);
      if (!sum.largest || sum.largest->bytes < collective->bytes) {
        sum.largest = *collective;
      }
    } else if (const Transfer* transfer = operations[i].transfer()) {
      bytes = static_cast<double>(transfer->bytes);
    } else {
      bytes = static_cast<double>(operations[i].compute()->bytes);
    }
    sum.row.calls += share;
    sum.row.bytes += share * bytes;
    sum.row.busy_s += share * busy_s[i];
    sum.row.exposed_s += share * exposed_s[i];
  }
}

std::vector<CommunicationRow> CommunicationRows::rows(const Communicator& group,
                                                      AllReduceAlgorithm word) const {
  std::vector<CommunicationRow> rows;
  for (const auto& [key, sum] : sums_) {
    CommunicationRow row = sum.row;
    row.collective = std::get<0>(key);
    row.phase = name(std::get<1>(key));
    row.group = std::get<2>(key);
    if (sum.largest) {
      const bool is_everybody = program_.axes[sum.largest->axis].groups.empty();
      row.algorithm = is_everybody ? choice_text(group, word, sum.largest->kind, sum.largest->bytes)
                                   : std::string(name(sum.largest->algorithm));
    }
    rows.push_back(std::move(row));
  }
  std::ranges::stable_sort(
      rows, std::ranges::greater(), [](const CommunicationRow& row) { return row.bytes; });
  return rows;
}

}  // namespace vitsim
